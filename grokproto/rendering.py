"""From what Grok answers to what the client is shown, on the shortest way there is.

    reader ──► cuts ──► filters ──► encoder
               stop, max_tokens     thinking, search, pictures

This is the way of every token, for the exchange and for those who make their own calls, so there is
one loop and no generator in it. What text costs and what pictures came is written down beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from . import answer
from .cuts import build_cuts
from .failures import Failure, FailureKind
from .filters import Filter, build_filters, run_filters
from .grok.reader import NEED_DATA, AnswerReader
from .request import ChatRequest
from .settings import Settings
from .usage import TokenCounter

T = TypeVar("T")


class Rendering(Generic[T]):
    """One answer on its way to one client.

    Args:
        request: What the client asked for. Where it wants pictures only, nothing is filtered.
        settings: What counts where the request says nothing.
        encode: Renders one event, such as an encoder's `encode`.
    """

    def __init__(
        self, request: ChatRequest, settings: Settings, encode: Callable[[answer.AnswerEvent], T]
    ) -> None:
        self._encode = encode
        self._cuts: Sequence[Filter] = build_cuts(request.stop, request.max_tokens)
        self._filters: Sequence[Filter] = ()
        if request.drawing is None:
            self._filters = build_filters(
                request.thinking or settings.thinking,
                settings.search if request.search is None else request.search,
            )
        self._text_filters: Sequence[Filter] | None = None
        """Those that have to do with text that follows on text; None where that is not known."""
        self._content_tokens = TokenCounter()
        self._reasoning_tokens = TokenCounter()
        self.pictures: list[str] = []
        """Addresses of the pictures that came, as `answer.Image` has them. They are shown last."""
        self.previews: list[str] = []
        """The same of unfinished ones. Whoever shows them, takes them out."""

    def measure(self, prompt_tokens: int) -> answer.Usage:
        """What the answer has cost so far.

        Args:
            prompt_tokens: What the question cost.
        """
        reasoning = self._reasoning_tokens.tokens
        return answer.Usage(prompt_tokens, reasoning + self._content_tokens.tokens, reasoning)

    def read(self, reader: AnswerReader) -> tuple[list[T], answer.EndReason | Failure | None]:
        """Render all that the reader has; with the end, where it has come.

        The end itself is not rendered, since pictures come before it; `render` does that.
        """
        pieces: list[T] = []
        ended: answer.EndReason | Failure | None = None
        encode = self._encode
        while ended is None and (read := reader.next_event()) is not NEED_DATA:
            if type(read) is answer.Text and self._text_filters is not None:
                self._content_tokens.add(read.text)
                if self._text_filters:
                    pieces += map(encode, run_filters(self._text_filters, read))
                else:
                    pieces.append(encode(read))
                continue
            for event in run_filters(self._cuts, read) if self._cuts else (read,):
                match event:
                    case answer.Text(text):
                        self._content_tokens.add(text)
                    case answer.Reasoning(text):
                        self._reasoning_tokens.add(text)
                    case answer.Image(address):
                        self.pictures.append(address)
                        continue
                    case answer.Preview(address):
                        self.previews.append(address)
                        continue
                    case answer.Ended(reason):
                        ended = reason
                        continue  # pictures may follow
                    case answer.Failed(failure):
                        ended = failure
                pieces += map(encode, run_filters(self._filters, event))
            if not self._cuts:
                concerned = [each for each in self._filters if not each.text_passes]
                self._text_filters = concerned if type(read) is answer.Text else None
        return pieces, ended

    def render(self, event: answer.AnswerEvent) -> list[T]:
        """Render an event that does not come from the reader: a picture, or the end."""
        return [self._encode(shown) for shown in run_filters(self._filters, event)]


def build_too_long(limit: int) -> Failure:
    """What has gone wrong where an answer has no end.

    Args:
        limit: Bytes that an answer may have.
    """
    megabytes = limit / 1024 / 1024
    return Failure(
        FailureKind.UPSTREAM,
        f"Grok's answer did not end within {megabytes:g} MiB, which is no answer; try again.",
    )

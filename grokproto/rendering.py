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
from .filters import Filter, build_filters, filter_run, run_filters
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
        encode_run: Renders a run, such as an encoder's `encode_run`. Without it, the events that it
            stands for are rendered.
    """

    def __init__(
        self,
        request: ChatRequest,
        settings: Settings,
        encode: Callable[[answer.AnswerEvent], T],
        encode_run: Callable[[answer.Run], T] | None = None,
    ) -> None:
        self._encode = encode
        self._encode_run = encode_run
        self._cuts: Sequence[Filter] = build_cuts(request.stop, request.max_tokens)
        self._filters: Sequence[Filter] = ()
        if request.drawing is None:
            self._filters = build_filters(
                request.thinking or settings.thinking,
                settings.search if request.search is None else request.search,
            )
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
        while ended is None and (read := reader.next_run()) is not NEED_DATA:
            if isinstance(read, answer.Run):
                run = filter_run(self._cuts, read)
                if run is not None:
                    self._render_run(run, pieces)
                    continue
                events: Sequence[answer.AnswerEvent] = read.events()
            else:
                events = (read,)
            for each in events:
                for event in run_filters(self._cuts, each) if self._cuts else (each,):
                    ended = self._render_event(event, pieces) or ended
        return pieces, ended

    def _render_run(self, run: answer.Run, pieces: list[T]) -> None:
        counter = self._reasoning_tokens if run.thinking else self._content_tokens
        counter.add(run.text)
        if self._encode_run is not None:
            shown = filter_run(self._filters, run)
            if shown is not None:
                pieces.append(self._encode_run(shown))
                return
        for event in run.events():
            pieces += self.render(event)

    def _render_event(
        self, event: answer.AnswerEvent, pieces: list[T]
    ) -> answer.EndReason | Failure | None:
        """Render an event that is no end, or take note of what has no place in the text yet."""
        ended: Failure | None = None
        match event:
            case answer.Text(text):
                self._content_tokens.add(text)
            case answer.Reasoning(text):
                self._reasoning_tokens.add(text)
            case answer.Image(address):
                self.pictures.append(address)
                return None
            case answer.Preview(address):
                self.previews.append(address)
                return None
            case answer.Ended(reason):
                return reason  # pictures may follow
            case answer.Failed(failure):
                ended = failure
        pieces += self.render(event)
        return ended

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

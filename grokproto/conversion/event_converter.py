"""Grok's bytes in, answer events out."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from ..answer import AnswerEvent, EndReason, Failed, Image
from ..failures import Failure
from ..question import Question
from ..request import ChatRequest
from ..settings import Settings, ThinkingFormat
from .converter import Converter

_ANY = ChatRequest("grok", ())
"""For an answer to a question that is not known."""


class EventConverter(Converter[AnswerEvent, AnswerEvent]):
    """Grok's bytes in, answer events out (`grokproto.answer`).

    The last event is always `Ended` or `Failed`. With a question they are what an encoder takes:
    `stop` and `max_tokens` have cut the text, and thinking, search results and pictures have become
    text where the question wants that. Without one they are what Grok said: `Text`, `Reasoning`,
    `SearchResults`, `Citation`, `Cited`, and `Image`s last.

    Args:
        question: From `read_question`, or a `ChatRequest` where there is none.
        settings: Instead of the question's.
        link_picture: Gives the address to show for a picture that only the account may see, by its
            path under the assets host. By default that is where Grok keeps it.

    Raises:
        InvalidRequestError: The request takes more than one call.
    """

    def __init__(
        self,
        question: Question | ChatRequest | None = None,
        *,
        settings: Settings | None = None,
        link_picture: Callable[[str], str] | None = None,
    ) -> None:
        self._is_raw = question is None
        if question is None:
            settings = replace(
                settings or Settings(),
                thinking=ThinkingFormat.REASONING_CONTENT,
                search=frozenset(),
            )
        super().__init__(question or _ANY, settings, _pass, link_picture)

    def _picture(self, address: str) -> AnswerEvent:
        return Image(address) if self._is_raw else super()._picture(address)

    def _join(self, pieces: list[AnswerEvent]) -> list[AnswerEvent]:
        if self.failure is not None and pieces[-2:-1] == pieces[-1:]:
            pieces.pop()  # the reader had told of it
        return pieces

    def _finish(self, reason: EndReason) -> list[AnswerEvent]:  # noqa: ARG002
        return []  # `Ended` was among the pieces

    def _fail(self, failure: Failure) -> list[AnswerEvent]:
        return [Failed(failure)]


def _pass(event: AnswerEvent) -> AnswerEvent:
    return event

"""The answer reader: Grok's bytes in, answer events out.

    reader = AnswerReader()
    reader.receive_data(data)
    while (event := reader.next_event()) is not NEED_DATA:
        ...
    reader.receive_eof()            # when the body is over; then once more next_event()

It has one input and no sequence that a caller would have to remember. The events do not depend on
how the bytes were cut. The last event is always `Ended` or `Failed`; it never raises for anything
that Grok sends.

Bytes become lines (`lines`), lines frames (`frames`), and frames answer events (`frame_reader`).
"""

from __future__ import annotations

import enum
from typing import Final, Literal, TypeAlias

from .. import answer
from ..failures import Failure, FailureKind
from .frame_reader import FrameReader
from .lines import LineReader


class _Need(enum.Enum):
    NEED_DATA = "NEED_DATA"

    def __repr__(self) -> str:
        return self.value


NEED_DATA: Final = _Need.NEED_DATA
"""What `AnswerReader.next_event` gives when only more bytes can bring another event."""

NeedData: TypeAlias = Literal[_Need.NEED_DATA]

MAX_LINE_BYTES = 16 * 1024 * 1024
"""Pictures in base64 make lines of several MB; clients of Grok allow 8 to 16 [client code]."""


class AnswerReader:
    """Reads the streamed body of one answer.

    Args:
        max_line_bytes: A longer line ends the answer as a failure.
    """

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._frames = FrameReader()
        self._events = self._frames.events
        self._lines = LineReader(self._frames, max_line_bytes)

    @property
    def unknown_kinds(self) -> dict[str, int]:
        """How often each name came that nobody here knows. A drift of Grok's API shows here
        first."""
        return self._frames.drift.counts

    @property
    def unknown(self) -> tuple[answer.Unknown, ...]:
        """The same, with what each looks like."""
        return self._frames.drift.seen

    @property
    def end_seen(self) -> bool:
        """Whether Grok has said that the answer is complete, though more lines may follow."""
        return self._frames.end_mark or self._lines.done

    @property
    def skipped(self) -> int:
        """Pieces of the stream that could not be made sense of."""
        return self._lines.skipped

    def receive_data(self, data: bytes) -> None:
        """Take a piece of the body, cut anywhere. Then ask `next_event` until `NEED_DATA`."""
        if self._frames.over:
            return
        lines = self._lines
        lines.receive_data(data)
        if lines.overflow and not self._frames.over:
            megabytes = self._max_line_bytes / 1024 / 1024
            self._frames.fail(
                Failure(
                    FailureKind.UPSTREAM,
                    f"Grok sent a line of more than {megabytes:g} MiB, which is no answer; "
                    "try again later.",
                )
            )

    def receive_eof(self, *, framed: bool = True) -> None:
        """Take the end of the body. Then ask `next_event` for the last events.

        Args:
            framed: The HTTP framing says that the body is complete; False where the far end
                merely closed the connection.
        """
        if self._frames.over:
            return
        inside = self._lines.receive_eof()
        if not self.end_seen and (inside or not framed):
            where = "in the middle of a line" if inside else "without its end mark"
            self._frames.fail(
                Failure(
                    FailureKind.TRUNCATED,
                    f"Grok's answer broke off {where}; what came so far is not all of it, "
                    "try again.",
                )
            )
            return
        self._frames.flush()
        self._frames.over = True
        if self._frames.anything:
            self._events.append(answer.Ended())
        elif self._frames.pictures.any_moderated:
            self._events.append(answer.Ended(answer.EndReason.MODERATED))
        else:
            self._events.append(
                answer.Failed(
                    Failure(
                        FailureKind.EMPTY, "Grok ended its answer without a word of it; try again."
                    )
                )
            )

    def next_event(self) -> answer.AnswerEvent | NeedData:
        """The next event, or `NEED_DATA`. After `Ended` or `Failed` there is never another."""
        if not self._events:
            return NEED_DATA
        event = self.next_run()
        if isinstance(event, answer.Run):
            self._events.extendleft(reversed(event.events()))
            return self.next_event()
        return event

    def next_run(self) -> answer.AnswerEvent | answer.Run | NeedData:
        """As `next_event`, with one `Run` for tokens that came together; much cheaper."""
        return self._events.popleft() if self._events else NEED_DATA

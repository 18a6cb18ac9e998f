"""Several answers to one request: each is an exchange of its own, and their responses become one.

The whole answer is as good as its worst part: where one of them fails for good, all have failed.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..answer import Unknown, Usage
from ..commands import ClientCommand, Command, Finish, SendData, SendResponse
from ..dialects.base import Choices
from ..failures import Failure
from .answering import Answering
from .reply import Reply


class Join:
    """Makes one response of those of several exchanges.

    Args:
        choices: Renders it.
        reply: What the client has been told.
        works: What they do.
    """

    def __init__(self, choices: Choices, reply: Reply, works: Sequence[Answering]) -> None:
        self._choices = choices
        self._reply = reply
        self._works = works
        self._status: list[int | None] = [None] * len(works)
        self._answers: list[list[bytes]] = [[] for _ in works]
        self._ended = 0
        self.failure: Failure | None = None
        """What went wrong with the first that failed."""

    @property
    def over(self) -> bool:
        """Whether nothing more is wanted of any of them."""
        return self.failure is not None or self._ended == len(self._works)

    def take(self, index: int, command: Command) -> Sequence[ClientCommand]:
        """Take a command of one of the exchanges that is for the client, or its last command; give
        what is to be done for the client in its place."""
        match command:
            case SendResponse(status):
                self._status[index] = status
            case SendData(data) if self._status[index] == 200 and not self.over:
                if self._choices.streaming:
                    return [c for c in self._reply.send(data) if isinstance(c, ClientCommand)]
                self._answers[index].append(data)
            case Finish(summary):
                self._ended += 1
                self.failure = self.failure or summary.failure
        return ()

    def finish(self) -> bytes:
        """The end of the response, when all are complete."""
        return self._choices.finish([b"".join(parts) for parts in self._answers], self.usage)

    @property
    def usage(self) -> Usage:
        """Of all; the question counts once, as it does elsewhere."""
        return Usage(
            self._works[0].usage.prompt_tokens,
            sum(each.usage.completion_tokens for each in self._works),
            sum(each.usage.reasoning_tokens for each in self._works),
        )

    @property
    def unknown(self) -> tuple[Unknown, ...]:
        """Of all."""
        return tuple(unknown for each in self._works for unknown in each.unknown)

    @property
    def attempts(self) -> int:
        """Of all."""
        return sum(each.attempts for each in self._works)

    @property
    def credential(self) -> str | None:
        """That of the first."""
        return self._works[0].credential

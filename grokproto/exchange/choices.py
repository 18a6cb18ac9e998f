"""Several answers to one request: each is an exchange of its own, and their responses become one.

The whole answer is as good as its worst part: where one of them fails for good, all have failed.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..answer import Usage
from ..commands import ClientCommand, Command, Finish, SendData, SendResponse, Summary
from ..dialects.base import Choices
from ..failures import Failure
from .reply import Reply


class Join:
    """Makes one response of those of several exchanges.

    Args:
        choices: Renders it.
        reply: What the client has been told.
        number: How many there are.
    """

    def __init__(self, choices: Choices, reply: Reply, number: int) -> None:
        self._choices = choices
        self._reply = reply
        self._status: list[int | None] = [None] * number
        self._answers: list[list[bytes]] = [[] for _ in range(number)]
        self._summaries: list[Summary] = []
        self._number = number

    @property
    def over(self) -> bool:
        """Whether nothing more is wanted of any of them."""
        return self.failure is not None or len(self._summaries) == self._number

    @property
    def failure(self) -> Failure | None:
        """What went wrong with the first that failed."""
        return next((each.failure for each in self._summaries if each.failure is not None), None)

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
                self._summaries.append(summary)
        return ()

    def finish(self) -> bytes:
        """The end of the response, when all are complete."""
        return self._choices.finish([b"".join(parts) for parts in self._answers], self.usage)

    @property
    def usage(self) -> Usage:
        """Of all; the question counts once, as it does elsewhere."""
        return Usage(
            max((each.prompt_tokens for each in self._summaries), default=0),
            sum(each.completion_tokens for each in self._summaries),
            sum(each.reasoning_tokens for each in self._summaries),
        )

    @property
    def attempts(self) -> int:
        """Of all."""
        return sum(each.attempts for each in self._summaries)

    @property
    def credential(self) -> str | None:
        """The last one that was used."""
        return self._summaries[-1].credential if self._summaries else None

"""A transcript in sentences: what happened, what was decided, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, assert_never

import msgspec

from .. import events as e
from ..failures import POLICIES, FailureKind, Retry
from ..lease import Outcome
from .transcript import Entry, Transcript

JSON: TypeAlias = Mapping[str, Any]

_OUTCOMES: dict[Outcome, str] = {
    Outcome.SERVED: "the call counts",
    Outcome.UNUSED: "the call is given back and costs the account nothing",
    Outcome.LIMITED: "this group of the account is used up and rests",
    Outcome.REFUSED: "Grok said twice that it does not know the cookie, so the account is disabled",
    Outcome.BLOCKED: "Grok has blocked the account, so it is disabled",
}
_RETRIES: dict[Retry, str] = {
    Retry.NEVER: "no other account would fare better",
    Retry.ONCE: "it is not the account's fault; one more try may be made with another",
    Retry.FREELY: "it is this account's own fault; others may be tried",
}
_ROTATIONS = {
    "balanced": "the one with most left comes first",
    "round-robin": "each has its turn",
    "fill-first": "the first one that can",
}
_CLIENTS = frozenset({"SendResponse", "SendData", "EndResponse"})
_BESIDE = 6
"""Accounts beside the one that is meant that are told of."""


class Told(msgspec.Struct, frozen=True):
    """One sentence."""

    seconds: float
    """Since the exchange began."""
    branch: int | None
    """Of a fork; None for the exchange itself."""
    sentence: str


def tell(transcript: Transcript) -> Iterator[Told]:
    """Tell a transcript. What flows is told in sums."""
    tellers: dict[int | None, _Teller] = {None: _Teller()}
    began: float | None = None
    now = 0.0
    for number, entry in enumerate(transcript.entries):
        if number == transcript.differs:
            yield Told(now, None, "From here on only lengths are known; see the end.")
        if entry.now is not None:
            began = entry.now if began is None else began
            now = entry.now - began
        # What a joint gives is for the client of all.
        branch = None if entry.now is None else entry.branch
        for sentence in tellers.setdefault(branch, _Teller()).tell(entry):
            yield Told(now, branch, sentence)
    for branch, teller in tellers.items():
        for sentence in teller.sum_up():
            yield Told(now, branch, sentence)


class _Teller:
    """Keeps the sums."""

    def __init__(self) -> None:
        self._reads = self._bytes_read = self._writes = self._bytes_written = 0

    def tell(self, entry: Entry) -> Iterator[str]:
        """What an entry says, after the sums of what has flowed before."""
        if isinstance(entry.event, e.DataReceived):
            self._reads += 1
            self._bytes_read += len(entry.event.data)
        elif entry.event is not None:
            told = [*_tell_event(entry.event, entry.branch), *_tell_notes(entry)]
            if told:
                yield from self.sum_up()
                yield from told
        for command in entry.commands:
            if entry.branch is not None and entry.now is not None and command["is"] in _CLIENTS:
                continue  # it goes into the joint
            if command["is"] == "SendData":
                self._writes += 1
                self._bytes_written += _measure(command["data"])
                continue
            for sentence in _tell_command(command):
                yield from self.sum_up()
                yield sentence
        if entry.event is None and entry.now is not None:
            yield "The host dropped it."

    def sum_up(self) -> Iterator[str]:
        """The sums, which begin anew then."""
        if self._reads:
            yield f"Grok sends {self._bytes_read} bytes in {self._reads} reads."
        if self._writes:
            yield f"The client is sent {self._bytes_written} bytes in {self._writes} writes."
        self._reads = self._bytes_read = self._writes = self._bytes_written = 0


def _measure(written: Any) -> int:
    """Bytes of a text, or of its outline."""
    if isinstance(written, str):
        return len(written.encode("utf-8", "surrogateescape"))
    return int(written)


def _tell_event(event: e.Event, branch: int | None) -> Iterator[str]:
    match event:
        case e.Start():
            if branch is None:
                yield "The request is there."
        case e.CredentialAcquired(lease):
            yield f"The pool gives account {lease.credential} for group {lease.group}."
        case e.NoCredential(message, retry_after, busy, silent):
            what = "does not answer" if silent else "has none"
            wait = "" if retry_after is None else f" That changes in {retry_after:g} s."
            yield f"The pool {what}: {message}{wait}{' One is only busy.' if busy else ''}"
        case e.ResponseReceived(status, headers):
            said = "".join(f", {name} {value}" for name, value in headers)
            yield f"Grok answers with HTTP status {status}{said}."
        case e.EndOfMessage(framed):
            yield "Grok's answer ends." if framed else "The connection to Grok ends."
        case e.RequestFailed(reason, sent, repeated):
            seen = "" if sent else ", before Grok can have seen it"
            again = ", made twice" if repeated else ""
            yield f"The call breaks off{seen}{again}: {reason}."
        case e.PictureFetched(data):
            yield f"The picture is there, {len(data)} bytes."
        case e.PictureRefused(reason):
            yield f"The picture cannot be had: {reason}."
        case e.PictureStored(url):
            yield f"The picture is kept at {url}."
        case e.TimedOut():
            yield "Nothing has come in time."
        case e.ClientClosed():
            yield "The client has left."
        case e.ServerStopping():
            yield "The server stops."
        case e.Completed() | e.DataReceived():
            pass
        case _:
            assert_never(event)


def _tell_notes(entry: Entry) -> Iterator[str]:
    notes = entry.notes
    if notes is None:
        return
    shown: list[JSON] = list(notes["accounts"])
    meant = entry.event.lease.credential if isinstance(entry.event, e.CredentialAcquired) else None
    if meant is not None or isinstance(entry.event, e.NoCredential):
        rotation = str(notes["rotation"])
        yield f"Rotation {rotation}: {_ROTATIONS.get(rotation, 'its own order')}."
    for account in shown[: 1 + _BESIDE]:
        yield f"  {_describe(account)}"
    if len(shown) > 1 + _BESIDE:
        yield f"  and {len(shown) - 1 - _BESIDE} others"


def _describe(account: JSON) -> str:
    left = (
        "" if account["total"] is None else f", {account['remaining']} of {account['total']} left"
    )
    flying = f", {account['in_flight']} in flight" if account["in_flight"] else ""
    reason = f": {account['reason']}" if account["reason"] else ""
    return f"{account['name']} is {account['state']}{left}{flying}{reason}"


def _tell_command(command: JSON) -> Iterator[str]:
    match command["is"]:
        case "AcquireCredential":
            tried = command["exclude"]
            yield (
                f"Asks the pool for a call of group {command['group']}"
                f"{f', of none of {tried}' if tried else ''}."
            )
        case "SendRequest" | "FetchPreview":
            request = command["request"]
            size = _measure(request["body"])
            yield f"Asks {request['method']} {request['url']} with {size} bytes."
        case "FetchPicture":
            yield f"Fetches the picture at {command['url']}."
        case "StorePicture":
            yield f"Keeps a picture of {_measure(command['data'])} bytes."
        case "CloseRequest":
            yield "Closes the call to Grok."
        case "ReleaseCredential":
            yield from _tell_release(command)
        case "SendResponse":
            yield f"The client is told status {command['status']}."
        case "EndResponse":
            yield "The response to the client ends."
        case "Fork":
            yield f"Makes {command['branches']} answers at once."
        case "Wait":
            yield "Waits for an account."
        case "Finish":
            yield from _tell_finish(command["summary"])


def _tell_release(command: JSON) -> Iterator[str]:
    outcome = Outcome(command["outcome"])
    if command["failure"] is not None:
        yield from _tell_failure(command["failure"])
    yield f"Gives the account back as {outcome.value}: {_OUTCOMES[outcome]}."
    quota = command["quota"]
    if quota is not None:
        yield f"Grok says that it has {quota['remaining']} of {quota['total']} calls left."


def _tell_failure(failure: JSON) -> Iterator[str]:
    kind = FailureKind(failure["kind"])
    said = f": {failure['message']}" if isinstance(failure["message"], str) else ""
    yield f"That is read as {kind.value}{said}"
    yield f"So {_RETRIES[POLICIES[kind].retry]}."


def _tell_finish(summary: JSON) -> Iterator[str]:
    failure = summary["failure"]
    how = "in order" if failure is None else f"with {FailureKind(failure['kind']).value}"
    left = " The client had left." if summary["client_closed"] else ""
    yield (
        f"Over, {how}: status {summary['status']}, {summary['attempts']} attempts, some "
        f"{summary['prompt_tokens']} and {summary['completion_tokens']} tokens.{left}"
    )

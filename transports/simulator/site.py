"""The routes of the simulated far ends: Grok, its assets, and two image hosts, told by path."""

from __future__ import annotations

import binascii
import itertools
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import msgspec
import trio

from ..server.errors import ClientLeftError
from ..server.http_request import HTTPRequest
from .accounts import Account, Accounts, name_quota
from .faults import CONVERSATIONS, Fault, FaultKind, FaultScript, WholeAnswer
from .frames import AnswerBuilder, Style, preview_path
from .framing import END, frame_bytes
from .hosts import ImageHosts
from .pictures import draw_png
from .refusals import (
    BLOCKED,
    JSON_HEADERS,
    LIMIT,
    NOT_FOUND,
    REFUSALS,
    UNAUTHENTICATED,
    reject,
)
from .stream import Answer, Delivery, break_unread, cut_body, send_answer

_BODY_LIMIT = 64 * 1024 * 1024
_MAX_RECEIVED = 1000
_MAX_RECEIVED_BODY = 1024 * 1024
_MAX_PATHS = 10_000
"""Different paths that are counted; clients may make up any number."""
_MAX_FILES = 4
_FOLLOW_UP = re.compile(r"/rest/app-chat/conversations/[^/]+/responses")


@attrs.frozen
class Received:
    """A call that came, for tests to look at."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    """Decoded where it is JSON; None where it is longer than a megabyte."""
    account: str | None = None


class Site:
    """All far ends in one. Everything public may be changed while it runs."""

    def __init__(
        self, clock: Callable[[], float], quotas: dict[str, tuple[int, float]] | None = None
    ) -> None:
        self.accounts = Accounts(clock, quotas)
        self.hosts = ImageHosts()
        self.faults = FaultScript()
        self.style = Style()
        self.delivery = Delivery()
        self.replay: list[bytes] | None = None
        """Instead of answers that are made: these bytes, in these writes."""
        self.gives_guests = True
        """`GET /` sets the cookies of a guest."""
        self.has_upload_file = True
        """`upload-file` is there; otherwise only the older call is."""
        self.calls: Counter[str] = Counter()
        """Calls by path."""
        self.received: deque[Received] = deque(maxlen=_MAX_RECEIVED)
        self.open_paths: Counter[str] = Counter()
        """Calls of any kind that are being answered, by path."""
        self.in_flight = 0
        """Questions that are being answered."""
        self.most_in_flight = 0
        self.cancelled = 0
        """Calls of any kind whose client left before their end."""
        self.cancelled_paths: Counter[str] = Counter()
        """The same, by path."""
        self.bytes_sent = 0
        """Of bodies, as they went out."""
        self._numbers = itertools.count(1)
        self._news = trio.lowlevel.ParkingLot()

    @property
    def open_calls(self) -> int:
        """Calls of any kind that are being answered."""
        return self.open_paths.total()

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds that depends on the counters here. Give it a deadline."""
        while not condition():
            await self._news.park()

    async def __call__(self, http: HTTPRequest) -> None:
        """Answer one call; give it up when whoever calls leaves."""
        self.open_paths[http.path] += 1
        left = False
        try:
            with trio.CancelScope() as scope:
                await self._dispatch(http, scope)
            left = scope.cancelled_caught
        except ClientLeftError:
            left = True
            raise
        finally:
            self.open_paths -= Counter((http.path,))  # none is no entry
            if left:
                self.cancelled += 1
                self._tally(self.cancelled_paths, http.path)
            self._news.unpark_all()

    async def _dispatch(self, http: HTTPRequest, scope: trio.CancelScope) -> None:
        account = self.accounts.find(_read_cookies(http))
        name = account.name if account else None
        unread = self.faults.take_unread(http.path, name)
        if unread is not None:
            self._note(http, account, None)
            http.watch(scope)
            await break_unread(http, unread)
            return
        body = await http.receive_body(_BODY_LIMIT)
        http.watch(scope)
        try:
            decoded: Any = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            decoded = body
        self._note(http, account, decoded if len(body) <= _MAX_RECEIVED_BODY else None)
        payload: dict[str, Any] = decoded if isinstance(decoded, dict) else {}
        fault = self.faults.take(http.path, name, payload)
        kind = None if fault is None else fault.kind
        if fault is not None and kind is FaultKind.RAW:
            await self._send_raw(http, fault.raw)
            return
        whole = _find_refusal(fault) or self._find_public(http, body)
        if whole is None and (account is None or account.dead):
            whole = UNAUTHENTICATED
        if whole is None and account is not None and account.blocked:
            whole = BLOCKED
        if whole is not None:
            await self._respond(http, whole, kind)
            return
        assert account is not None
        match http.method, http.path:
            case "POST", path if path == CONVERSATIONS or _FOLLOW_UP.fullmatch(path):
                await self._converse(http, account, payload, kind, flat=path != CONVERSATIONS)
            case "POST", "/rest/app-chat/upload-file" if self.has_upload_file:
                await self._respond(http, self._upload(account, payload), kind)
            case "POST", "/api/rpc" if payload.get("rpc") == "uploadFile":
                await self._respond(http, self._upload(account, payload.get("req")), kind)
            case "POST", "/rest/rate-limits":
                limits = self.accounts.describe_limits(account, name_quota(payload))
                await self._respond(http, _json(limits), kind)
            case "GET", path if path[1:] in account.pictures:
                picture = draw_png(account.pictures[path[1:]])
                await self._respond(http, (200, (("content-type", "image/png"),), picture), kind)
            case _:
                await self._respond(http, NOT_FOUND, kind)

    def _note(self, http: HTTPRequest, account: Account | None, body: Any) -> None:
        self._tally(self.calls, http.path)
        name = None
        if account is not None:
            name = account.name
            self._tally(account.paths, http.path)
        headers = dict(http.headers.items())
        self.received.append(Received(http.method, http.path, headers, body, name))
        self._news.unpark_all()

    def _tally(self, counter: Counter[str], path: str) -> None:
        if path in counter or len(counter) < _MAX_PATHS:
            counter[path] += 1

    def _count_bytes(self, count: int) -> None:
        self.bytes_sent += count
        self._news.unpark_all()

    async def _respond(
        self, http: HTTPRequest, whole: WholeAnswer, kind: FaultKind | None = None
    ) -> None:
        """Send a whole answer; where a fault is ordered, as a body that can break."""
        status, headers, body = whole
        if kind is None or kind is FaultKind.ANSWER or kind in REFUSALS:
            self._count_bytes(len(body))
            await http.respond(status, headers, body)
            return
        answer = Answer(cut_body(body), status, headers)
        await send_answer(http, answer, self.delivery, kind, self._count_bytes)

    async def _send_raw(self, http: HTTPRequest, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            await trio.lowlevel.checkpoint()
            await http.send_raw(piece)
            self._count_bytes(len(piece))
        http.abort()

    def _find_public(self, http: HTTPRequest, body: bytes) -> WholeAnswer | None:
        """What needs no account."""
        if (http.method, http.path) != ("GET", "/"):
            return self.hosts.answer(http, body)
        headers = [("content-type", "text/html")]
        if self.gives_guests:
            cookies = self.accounts.make_guest().items()
            headers += [("set-cookie", f"{name}={v}; Path=/; HttpOnly") for name, v in cookies]
        return (200, tuple(headers), b"<!doctype html><title>Grok, simulated</title>")

    def _upload(self, account: Account, file: Any) -> WholeAnswer:
        content = file.get("content") if isinstance(file, dict) else None
        try:
            if not isinstance(content, str) or not binascii.a2b_base64(content, strict_mode=True):
                return reject("content is missing")
        except ValueError:  # such as a data: prefix, which the site does not take either
            return reject("content is not base64")
        identity = f"00000000-0000-4000-9003-{next(self._numbers):012d}"
        account.files.add(identity)
        return _json(
            {
                "fileMetadataId": identity,
                "fileMimeType": file.get("fileMimeType"),
                "fileName": file.get("fileName"),
                "fileUri": f"users/simulated/{identity}/content",
                "parsedFileUri": "",
                "fileSource": "SELF_UPLOAD_FILE_SOURCE",
            }
        )

    # Answers

    async def _converse(
        self,
        http: HTTPRequest,
        account: Account,
        payload: dict[str, Any],
        kind: FaultKind | None,
        *,
        flat: bool,
    ) -> None:
        wrong = _find_mistake(account, payload)
        if wrong is not None:
            await self._respond(http, wrong)
            return
        if not self.accounts.take(account, name_quota(payload)):
            await self._respond(http, LIMIT)
            return
        framing = self.style.framing

        def encode(frame: dict[str, Any]) -> bytes:
            if flat and "result" in frame:
                frame = {"result": frame["result"]["response"]}
            return frame_bytes(frame, framing)

        if self.replay is not None:
            answer = Answer(self.replay)
            delivery = attrs.evolve(self.delivery, lines_per_write=1)
        else:
            frames = self._build(account, payload)
            lines = [encode(f) for f in frames if not flat or "response" in f["result"]]
            answer = Answer([*lines, END.get(framing, b"")], encode=encode)
            delivery = self.delivery
        with self._count(account):
            await send_answer(http, answer, delivery, kind, self._count_bytes)

    def _build(self, account: Account, payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
        number = next(self._numbers)
        names = [f"{number}-{index}" for index in range(self.style.pictures)]
        paths = [f"users/simulated/generated/{name}/image.png" for name in names]
        builder = AnswerBuilder(payload, self.style, paths, number)
        if builder.draws:
            for index, path in enumerate(paths):
                account.pictures[path] = number * len(paths) + index
                account.pictures[preview_path(path)] = -account.pictures[path] - 1
        return builder.frames()

    @contextmanager
    def _count(self, account: Account) -> Iterator[None]:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        account.in_flight += 1
        account.most_in_flight = max(account.most_in_flight, account.in_flight)
        self._news.unpark_all()
        try:
            yield
        finally:
            self.in_flight -= 1
            account.in_flight -= 1


def _find_refusal(fault: Fault | None) -> WholeAnswer | None:
    if fault is None:
        return None
    return fault.answer or REFUSALS.get(fault.kind)


def _find_mistake(account: Account, payload: dict[str, Any]) -> WholeAnswer | None:
    """What is wrong with a question."""
    message = payload.get("message")
    files = payload.get("fileAttachments") or []
    if not isinstance(message, str) or not message:
        return reject("there is no message")
    if not isinstance(files, list) or len(files) > _MAX_FILES:
        return reject(f"fileAttachments takes {_MAX_FILES} ids")
    if any(file not in account.files for file in files):
        return reject("there is no such attachment")
    if not (payload.get("modelName") or payload.get("modeId") or payload.get("modelMode")):
        return reject("no model is named")
    return None


def _json(value: Any) -> WholeAnswer:
    return (200, JSON_HEADERS, msgspec.json.encode(value))


def _read_cookies(http: HTTPRequest) -> dict[str, str]:
    header = "; ".join(http.headers.get_all("cookie"))
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return {name: value for name, _, value in pairs if name}

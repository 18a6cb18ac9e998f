"""The routes of the simulated far ends: Grok, its assets, and two image hosts, told by path."""

from __future__ import annotations

import itertools
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import msgspec
import trio

from ..connection import HTTPRequest
from .accounts import Account, Accounts, name_quota
from .faults import FaultKind, FaultScript
from .frames import END, AnswerBuilder, Style, frame_bytes
from .pictures import draw_png
from .refusals import BLOCKED, JSON_HEADERS, LIMIT, REFUSALS, UNAUTHENTICATED
from .stream import Delivery, send_answer

_BODY_LIMIT = 64 * 1024 * 1024
_MAX_RECEIVED = 1000
_PICTURES = 2
_FOLLOW_UP = re.compile(r"/rest/app-chat/conversations/[^/]+/responses")


@attrs.frozen
class Received:
    """A call that came, for tests to look at."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    """Decoded where it is JSON."""


class Site:
    """All far ends in one. Everything public may be changed while it runs."""

    def __init__(
        self, clock: Callable[[], float], quotas: dict[str, tuple[int, float]] | None = None
    ) -> None:
        self.accounts = Accounts(clock, quotas)
        self.faults = FaultScript()
        self.style = Style()
        self.delivery = Delivery()
        self.replay: list[bytes] | None = None
        """Instead of answers that are made: these bytes, in these writes."""
        self.gives_guests = True
        """`GET /` sets the cookies of a guest."""
        self.has_upload_file = True
        """`upload-file` is there; otherwise only the older call is."""
        self.keys_of_hosts = True
        """The image hosts take uploads."""
        self.calls: Counter[str] = Counter()
        """Calls by path."""
        self.received: deque[Received] = deque(maxlen=_MAX_RECEIVED)
        self.in_flight = 0
        """Questions being answered."""
        self.cancelled = 0
        """Answers that were not taken to their end."""
        self._numbers = itertools.count(1)
        self._hosted: dict[str, bytes] = {}
        self._fetchable: dict[str, bytes] = {}

    async def __call__(self, http: HTTPRequest) -> None:
        """Answer one call; give it up when whoever calls leaves."""
        with trio.CancelScope() as scope:
            http.watch(scope)
            await self._dispatch(http)

    async def _dispatch(self, http: HTTPRequest) -> None:
        body = await http.receive_body(_BODY_LIMIT)
        try:
            decoded: Any = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            decoded = body
        self.calls[http.path] += 1
        self.received.append(Received(http.method, http.path, dict(http.headers.items()), decoded))
        payload: dict[str, Any] = decoded if isinstance(decoded, dict) else {}
        account = self.accounts.find(_read_cookies(http))
        fault = self.faults.take(
            http.path, account.name if account else None, str(payload.get("message", ""))
        )
        if fault in REFUSALS:
            await http.respond(*REFUSALS[fault])
            return
        match http.method, http.path:
            case "GET", "/":
                await self._home(http)
            case "POST", "/api/v1/upload" | "/api/1/upload":
                await self._host(http, body)
            case "GET", path if path in self._hosted:
                await http.respond(200, (("content-type", "image/png"),), self._hosted[path])
            case _ if account is None or account.dead:
                await http.respond(*UNAUTHENTICATED)
            case _ if account.blocked:
                await http.respond(*BLOCKED)
            case _:
                await self._dispatch_account(http, account, payload, fault)

    async def _dispatch_account(
        self, http: HTTPRequest, account: Account, payload: dict[str, Any], fault: FaultKind | None
    ) -> None:
        match http.method, http.path:
            case "POST", "/rest/app-chat/conversations/new":
                await self._converse(http, account, payload, fault)
            case "POST", path if _FOLLOW_UP.fullmatch(path):
                await self._converse(http, account, payload, fault, flat=True)
            case "POST", "/rest/app-chat/upload-file" if self.has_upload_file:
                await self._upload(http, account, payload)
            case "POST", "/api/rpc" if payload.get("rpc") == "uploadFile":
                await self._upload(http, account, payload.get("req") or {})
            case "POST", "/rest/rate-limits":
                limits = self.accounts.describe_limits(account, name_quota(payload))
                await self._json(http, limits)
            case "GET", path if path[1:] in account.pictures:
                picture = self._fetchable[path[1:]]
                await http.respond(200, (("content-type", "image/png"),), picture)
            case _:
                await http.respond(404, JSON_HEADERS, b'{"code":5,"message":"Not found"}')

    async def _json(self, http: HTTPRequest, value: Any) -> None:
        await http.respond(200, JSON_HEADERS, msgspec.json.encode(value))

    async def _home(self, http: HTTPRequest) -> None:
        headers = [("content-type", "text/html")]
        if self.gives_guests:
            cookies = self.accounts.make_guest()
            headers += [
                ("set-cookie", f"{name}={value}; Path=/; HttpOnly")
                for name, value in cookies.items()
            ]
        await http.respond(200, headers, b"<!doctype html><title>Grok, simulated</title>")

    async def _upload(self, http: HTTPRequest, account: Account, file: dict[str, Any]) -> None:
        number = next(self._numbers)
        identity = f"00000000-0000-4000-9003-{number:012d}"
        account.files.add(identity)
        await self._json(
            http,
            {
                "fileMetadataId": identity,
                "fileMimeType": file.get("fileMimeType"),
                "fileName": file.get("fileName"),
                "fileUri": f"users/simulated/{identity}/content",
                "parsedFileUri": "",
                "fileSource": "SELF_UPLOAD_FILE_SOURCE",
            },
        )

    async def _host(self, http: HTTPRequest, body: bytes) -> None:
        field = b'name="file"' if http.path == "/api/v1/upload" else b'name="source"'
        key = http.headers.get("authorization") or http.headers.get("x-api-key")
        start = body.find(b"\r\n\r\n")
        end = body.rfind(b"\r\n--")
        if not self.keys_of_hosts or not key or field not in body[:1000] or start < 0 or end < 0:
            await http.respond(400, JSON_HEADERS, b'{"error":"no upload"}')
            return
        path = f"/hosted/{next(self._numbers)}.png"
        self._hosted[path] = body[start + 4 : end]
        url = f"http://{http.headers.get('host')}{path}"
        answer = (
            {"image": {"url": url}}
            if http.path == "/api/1/upload"
            else {"data": {"links": {"url": url}}}
        )
        await self._json(http, answer)

    # Answers

    async def _converse(
        self,
        http: HTTPRequest,
        account: Account,
        payload: dict[str, Any],
        fault: FaultKind | None,
        *,
        flat: bool = False,
    ) -> None:
        strange = [f for f in payload.get("fileAttachments") or () if f not in account.files]
        if strange:
            await http.respond(400, JSON_HEADERS, b'{"code":3,"message":"No such attachment"}')
            return
        if not self.accounts.take(account, name_quota(payload)):
            await http.respond(*LIMIT)
            return
        if self.replay is not None:
            lines = self.replay
            delivery = attrs.evolve(self.delivery, lines_per_write=1)
        else:
            lines = list(self._build_lines(account, payload, flat=flat))
            delivery = self.delivery
        with self._count(account):
            await send_answer(http, lines, delivery, fault)

    def _build_lines(
        self, account: Account, payload: dict[str, Any], *, flat: bool
    ) -> Iterator[bytes]:
        number = next(self._numbers)
        paths = [
            f"users/simulated/generated/{number}-{index}/image.png" for index in range(_PICTURES)
        ]
        builder = AnswerBuilder(payload, self.style, paths, number)
        if builder.draws:
            for index, path in enumerate(paths):
                account.pictures.add(path)
                self._fetchable[path] = draw_png(number * _PICTURES + index)
        framing = self.style.framing
        for frame in builder.frames():
            result = frame["result"]
            if flat:
                if "response" not in result:
                    continue
                yield frame_bytes({"result": result["response"]}, framing)
            else:
                yield frame_bytes(frame, framing)
        yield END.get(framing, b"")

    @contextmanager
    def _count(self, account: Account) -> Iterator[None]:
        self.in_flight += 1
        account.in_flight += 1
        account.most_in_flight = max(account.most_in_flight, account.in_flight)
        taken = False
        try:
            yield
            taken = True
        finally:
            self.in_flight -= 1
            account.in_flight -= 1
            self.cancelled += not taken


def _read_cookies(http: HTTPRequest) -> dict[str, str]:
    header = "; ".join(http.headers.get_all("cookie"))
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return {name: value for name, _, value in pairs if name}

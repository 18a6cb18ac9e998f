"""The API without a port: transports for httpx, and so for OpenAI's SDK, in the same process.

    http_client = openai.DefaultHttpxClient(transport=build_transport())
    client = openai.OpenAI(base_url="http://grok/v1", api_key="-", http_client=http_client)

    http_client = openai.DefaultAsyncHttpxClient(transport=build_async_transport())
    client = openai.AsyncOpenAI(base_url="http://grok/v1", api_key="-", http_client=http_client)

The host in the address is of no account, nor is the key, unless it is to be the cookie of an
account (`IS_CUSTOM_SSO`). Answers stream as they come, and a response that is closed before its end
gives up what is behind it. httpx and httpx2 are served alike.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import attrs

from .api.front import Head, Headers
from .api.gathering import Gathering
from .api.service import Service, build_service, open_pictures, open_scheduler
from .config import Config, load_config
from .driving.answer_threads import Reply, ThreadedApp, ThreadedRequest
from .driving.background import Background, OpenScheduler
from .driving.work_threads import ReplyClosedError
from .httpx_bases import (
    AsyncBaseTransport,
    AsyncByteStream,
    BaseTransport,
    SyncByteStream,
    find_library,
)
from .keys import AnyKey
from .logs import get_logger
from .loops import Cancellable, Loop
from .loops.mailbox import Mailbox
from .pool.scheduler import Scheduler
from .server.errors import BodyTooLargeError, ClientLeftError, encode_http_error
from .server.http_request import RequestHeaders


def build_transport(config: Config | None = None) -> Transport:
    """The transport for `httpx.Client` that a configuration asks for.

    Its state is held until it is closed, as it is with its client.

    Args:
        config: The configuration; by default that of the environment and `.env`, as of the server.

    Raises:
        ConfigurationError: A value cannot be right, or the state is held by another process.
    """
    config = config or load_config()
    service = _build_service(config)
    with contextlib.ExitStack() as stack:
        scheduler = stack.enter_context(open_scheduler(config))
        return Transport(service, scheduler, at_close=stack.pop_all().close)


def build_async_transport(config: Config | None = None) -> AsyncTransport:
    """The transport for `httpx.AsyncClient` that a configuration asks for.

    Its state is held from the first request until it is closed.

    Args:
        config: See `build_transport`.

    Raises:
        ConfigurationError: A value cannot be right. The first request raises it where the state is
            held by another process.
    """
    config = config or load_config()
    return AsyncTransport(_build_service(config), lambda: open_scheduler(config))


def _build_service(config: Config) -> Service:
    """What the configuration asks for, to anybody in this process."""
    service = build_service(config, open_pictures(config))
    return service if service.keys is None else attrs.evolve(service, keys=AnyKey())


def _read_head(request: Any) -> Head:
    """The head of a request of httpx's."""
    path = request.url.raw_path.decode("ascii").partition("?")[0]
    return Head(request.method, path, RequestHeaders(request.headers.raw))


def _encode(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]


def _find_timeout(request: Any) -> float:
    """Seconds that whoever asks waits for more of an answer."""
    timeout = request.extensions.get("timeout", {}).get("read")
    return math.inf if timeout is None else float(timeout)


# Threads


class Transport(BaseTransport):
    """A transport for `httpx.Client`.

    Args:
        service: What it serves with.
        scheduler: The accounts; nobody else may use it.
        at_close: Called when it is closed.
    """

    def __init__(
        self,
        service: Service,
        scheduler: Scheduler,
        *,
        at_close: Callable[[], object] = lambda: None,
    ) -> None:
        self._app = ThreadedApp(service, scheduler, at_close=at_close)

    def handle_request(self, request: Any) -> Any:
        """Answer a request; its body comes as it is read."""
        library = find_library(request)
        body: bytes = request.read()
        patience = _Patience(_find_timeout(request), library.ReadTimeout)
        with patience:
            reply = self._app.answer(
                ThreadedRequest(
                    _read_head(request),
                    lambda limit: _check(body, limit),
                    patience.over,
                    is_near=True,
                )
            )
        return library.Response(
            reply.status,
            headers=_encode(reply.headers),
            stream=_Stream(reply, patience, library.ReadError),
        )

    def close(self) -> None:
        """End what goes on, and let go of the state."""
        self._app.close()


def _check(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise BodyTooLargeError
    return body


class _Patience:
    """How long whoever reads waits for more."""

    def __init__(self, seconds: float, error: type[Exception]) -> None:
        self._seconds = seconds
        self._error = error
        self._deadline = math.inf

    def over(self) -> bool:
        """It was too long. To whoever makes the answer, the client has left."""
        return time.monotonic() >= self._deadline

    def __enter__(self) -> None:
        self._deadline = time.monotonic() + self._seconds

    def __exit__(self, *_: object) -> None:
        over, self._deadline = self.over(), math.inf
        if over:
            raise self._error(f"no more came within {self._seconds:g} seconds")


class _Stream(SyncByteStream):
    def __init__(self, reply: Reply, patience: _Patience, error: type[Exception]) -> None:
        self._reply = reply
        self._patience = patience
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        while True:
            try:
                with self._patience:
                    piece = next(self._reply, None)
            except ReplyClosedError as exc:
                raise self._error("the stream was closed before its end") from exc
            if piece is None:
                return
            yield piece

    def close(self) -> None:
        self._reply.close()


# Tasks


class AsyncTransport(AsyncBaseTransport):
    """A transport for `httpx.AsyncClient`, on asyncio or trio.

    Args:
        service: What it serves with.
        open_scheduler: Opens its accounts at the first request.
    """

    def __init__(self, service: Service, open_scheduler: OpenScheduler) -> None:
        self._background = Background(service, open_scheduler)

    async def handle_async_request(self, request: Any) -> Any:
        """Answer a request; its body comes as it is read."""
        library = find_library(request)
        body: bytes = await request.aread()
        app = await self._background.start()
        loop, parts = self._background.loop, self._background.mailroom.open_mailbox()
        http = _Request(_read_head(request), body, _find_timeout(request), library, loop, parts)

        async def answer() -> None:
            with http.scope:
                try:
                    await app(http)
                except ClientLeftError:
                    pass
                except Exception as exc:
                    get_logger().error("a request failed by our own fault", exc_info=exc)
                    await http.give_up()

        self._background.start_soon(answer)
        try:
            status, headers = await http.take_head()
        except BaseException:
            http.leave()
            raise
        return library.Response(status, headers=_encode(headers), stream=_AsyncStream(http))

    async def aclose(self) -> None:
        """End what goes on, and let go of the state."""
        await self._background.stop()


@attrs.frozen
class _End:
    """Of a response."""

    whole: bool = True


_Part = tuple[int, Headers] | bytes | _End


class _Request(Gathering):
    """See `answer.Request`: one of httpx's, and the way from whoever answers to whoever reads."""

    def __init__(
        self,
        head: Head,
        body: bytes,
        timeout: float,
        library: Any,
        loop: Loop,
        parts: Mailbox[_Part],
    ) -> None:
        super().__init__()
        self.method, self.path, self.headers = head.method, head.path, head.headers
        self.scope = loop.open_scope()
        """Of the answering."""
        self._loop = loop
        self._body = body
        self._timeout = timeout
        self._library = library
        self._parts = parts
        self._watched: Cancellable | None = None
        self._left = False
        self._head_sent = False
        self._ended = False

    # For whoever answers

    async def receive_body(self, limit: int) -> bytes:
        return _check(self._body, limit)

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        framing = () if status in (204, 304) else (("content-length", str(len(body))),)
        await self.send_response(status, (*headers, *framing))
        if body and self.method != "HEAD":
            await self.send_data(body)
        await self.end_response()

    async def send_response(self, status: int, headers: Headers) -> None:
        self._head_sent = True
        await self._give((status, headers))

    async def send_data(self, data: bytes) -> None:
        await self._give(data)

    async def end_response(self) -> None:
        self._ended = True
        await self._give(_End())

    async def _give(self, part: _Part) -> None:
        if self._left:
            raise ClientLeftError
        await self._parts.put(part)

    def watch(self, scope: Cancellable) -> None:
        self._watched = scope
        if self._left:
            scope.cancel()

    def unwatch(self) -> None:
        self._watched = None

    async def give_up(self) -> None:
        """Tell of a mistake of ours, in the way that is still open."""
        if self._head_sent:
            await self._give(_End(whole=False))
            return
        message = "The server has made a mistake; its log says which."
        body = encode_http_error(message, "internal_error", "server_error")
        await self.respond(500, (("content-type", "application/json"),), body)

    # For whoever reads

    async def take_head(self) -> tuple[int, Headers]:
        """The head of the response."""
        head = await self._take()
        assert isinstance(head, tuple)
        return head

    async def take_data(self) -> bytes | None:
        """More of its body; None at the end."""
        part = await self._take()
        if isinstance(part, bytes):
            return part
        assert isinstance(part, _End)
        if not part.whole:
            raise self._library.RemoteProtocolError("the answer was broken off by a mistake")
        return None

    async def _take(self) -> _Part:
        part = await self._parts.take(self._loop.current_time() + self._timeout)
        if part is None:
            self.leave()
            raise self._library.ReadTimeout(f"no more came within {self._timeout:g} seconds")
        return part

    def leave(self) -> None:
        """Nobody reads any more."""
        self._left = True
        if self._watched is not None:
            self._watched.cancel()
        elif not self._ended:
            self.scope.cancel()


class _AsyncStream(AsyncByteStream):
    def __init__(self, http: _Request) -> None:
        self._http = http

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (data := await self._http.take_data()) is not None:
            yield data

    async def aclose(self) -> None:
        self._http.leave()

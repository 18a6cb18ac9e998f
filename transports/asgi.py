"""The HTTP API as an ASGI application: to mount in Starlette or FastAPI, or to run by itself.

    app.mount("/grok", build_app())                            # in FastAPI
    uvicorn --factory transports.asgi:build_app                # by itself
    hypercorn --worker-class trio 'transports.asgi:build_app()'

It wants no lifespan, and heeds one. What an exchange asks for is done as in the server; what is
the server's business there (heads, keep-alive, connections) is that of whoever serves here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import quote

from grokproto.errors import ConfigurationError

from .api.front import Headers
from .api.gathering import Gathering
from .api.service import Service, build_service, check_key, open_pictures, open_scheduler
from .config import Config, load_config
from .driving.background import Background, BuildDesk, OpenScheduler
from .logs import get_logger
from .loops import Cancellable, Nursery
from .server.errors import BadBodyError, BodyTooLargeError, ClientLeftError, encode_http_error
from .server.http_request import RequestHeaders, check_length

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


def build_app(config: Config | None = None) -> ASGIApp:
    """The application that a configuration asks for.

    Args:
        config: The configuration; by default that of the environment and `.env`, as of the server.

    Raises:
        ConfigurationError: A value cannot be right, or the key is the one that everybody knows.
    """
    config = config or load_config()
    check_key(config)
    service = build_service(config, open_pictures(config))
    return ASGIApp(service, lambda: open_scheduler(config))


class ASGIApp:
    """An ASGI 3 application.

    Args:
        service: What it serves with.
        open_scheduler: Opens its accounts when it begins; for accounts that are open already,
            `lambda: contextlib.nullcontext(scheduler)`.
        build_desk: What is done with pictures on an event loop, instead of what the service says.
    """

    def __init__(
        self,
        service: Service,
        open_scheduler: OpenScheduler,
        *,
        build_desk: BuildDesk | None = None,
    ) -> None:
        self._background = Background(service, open_scheduler, build_desk=build_desk)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """See ASGI."""
        match scope["type"]:
            case "http":
                await self._serve(scope, receive, send)
            case "lifespan":
                await self._live(receive, send)
            case other:
                raise NotImplementedError(f"no {other} is spoken here")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._background.start()
        except ConfigurationError as exc:
            await send({"type": "lifespan.startup.failed", "message": f"grokproto: {exc}"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._background.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        app = await self._background.start()
        broken = False
        async with self._background.loop.open_nursery() as nursery:
            http = _Request(scope, receive, send, nursery, self._background)
            try:
                await app(http)
            except ClientLeftError:
                pass
            except Exception as exc:  # whatever it is, the client gets an end it can read
                get_logger().error("a request failed by our own fault", exc_info=exc)
                broken = http.head_sent
                if not broken:
                    with contextlib.suppress(ClientLeftError):
                        await http.give_up()
            nursery.cancel_scope.cancel()
        if broken:
            # Whoever serves breaks the connection off, so that nobody takes the answer for whole.
            raise RuntimeError("an answer was broken off by our own fault")


class _Request(Gathering):
    """See `answer.Request`."""

    def __init__(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
        nursery: Nursery,
        background: Background,
    ) -> None:
        super().__init__()
        self._receive = receive
        self._send = send
        self._nursery = nursery
        self._loop = background.loop
        self._body_timeout = background.service.body_timeout
        self._write_timeout = background.service.write_timeout
        self._deadlines = background.mailroom
        self.deadline = 0.0
        """For the client to take what it is being sent."""
        self._watched: Cancellable | None = None
        self.head_sent = False
        self.method: str = scope["method"]
        self.path = _find_path(scope)
        self.headers = RequestHeaders(scope["headers"])

    async def receive_body(self, limit: int) -> bytes:
        length = self.headers.get("content-length")
        if length is not None:
            check_length(length, limit)
        body = bytearray()
        more = True
        while more:
            message = await self._receive_piece()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > limit:
                raise BodyTooLargeError
        return bytes(body)

    async def _receive_piece(self) -> Message:
        with self._loop.open_scope(deadline=self._loop.current_time() + self._body_timeout):
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeftError
            return message
        raise BadBodyError("The body of the request is broken: it did not come in time.")

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        framing = () if status in (204, 304) else (("content-length", str(len(body))),)
        await self.send_response(status, (*headers, *framing))
        await self._give({"type": "http.response.body", "body": body})

    async def send_response(self, status: int, headers: Headers) -> None:
        raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
        self.head_sent = True
        await self._give({"type": "http.response.start", "status": status, "headers": raw})

    async def send_data(self, data: bytes) -> None:
        await self._give({"type": "http.response.body", "body": data, "more_body": True})

    async def end_response(self) -> None:
        self._watched = None  # some servers call the end of a response that the client has left
        await self._give({"type": "http.response.body", "body": b""})

    async def _give(self, message: Message) -> None:
        """Send; return when the client can take more."""
        self.deadline = self._loop.current_time() + self._write_timeout
        self._deadlines.add(self)
        try:
            await self._send(message)
        except OSError as exc:  # how servers tell, by version 2.4 of the specification
            raise ClientLeftError from exc
        finally:
            self._deadlines.discard(self)

    def expire(self) -> None:
        """The client does not take what it is sent: it has as good as left."""
        scope = self._watched or self._nursery.cancel_scope
        scope.cancel()

    def watch(self, scope: Cancellable) -> None:
        self._watched = scope
        self._nursery.start_soon(self._wait_for_end)

    def unwatch(self) -> None:
        self._watched = None

    async def _wait_for_end(self) -> None:
        message = await self._receive()
        # Middleware that hands out a body of its own may do so for ever, and without waiting: it
        # does not tell of the end. Who asks again would have the event loop for himself.
        if message["type"] == "http.disconnect" and self._watched is not None:
            self._watched.cancel()

    async def give_up(self) -> None:
        """Tell of a mistake of ours. No head may have been sent."""
        message = "The server has made a mistake; its log says which."
        body = encode_http_error(message, "internal_error", "server_error")
        await self.respond(500, (("content-type", "application/json"),), body)


def _find_path(scope: Message) -> str:
    """The path within this application, as it came. Some servers give it decoded only."""
    root = quote(scope.get("root_path", "").rstrip("/"))
    raw = scope.get("raw_path")
    path: str = raw.decode("latin-1") if raw else quote(scope["path"])
    if path.startswith(f"{root}/"):
        path = path.removeprefix(root)
    return path

"""The HTTP API as a WSGI application: for Flask, gunicorn, wsgiref.

    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/grok": build_app()})    # in Flask
    gunicorn --threads 32 'transports.threaded:build_app()'                      # by itself

One process, and a thread for each request: the accounts belong to one process. A client that
leaves is noticed at once where the server lends us its socket (gunicorn, werkzeug), elsewhere at
the next thing that is sent to it, a ping at the latest.
"""

from __future__ import annotations

import contextlib
import http
import select
import socket
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias
from urllib.parse import quote

from .api.front import Head
from .api.service import Service, build_service, check_key, open_pictures, open_scheduler
from .config import Config, load_config
from .driving.answer_threads import ThreadedApp, ThreadedRequest
from .pictures.desk import PictureDesk
from .pool.scheduler import Scheduler
from .server.errors import BadBodyError, BodyTooLargeError, ClientLeftError
from .server.http_request import RequestHeaders, check_length

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]

_SOCKETS = ("gunicorn.socket", "werkzeug.socket")
"""Where servers lend us the connection."""
_PIECE = 64 * 1024
_END: int = getattr(select, "POLLRDHUP", 0)
"""The far end has ended, whatever it has sent before; Linux tells."""


def build_app(config: Config | None = None) -> WSGIApp:
    """The application that a configuration asks for.

    Its state is held until it is closed, or until the process ends.

    Args:
        config: The configuration; by default that of the environment and `.env`, as of the server.

    Raises:
        ConfigurationError: A value cannot be right, the key is the one that everybody knows, or the
            state is held by another process.
    """
    config = config or load_config()
    check_key(config)
    service = build_service(config, open_pictures(config))
    with contextlib.ExitStack() as stack:
        scheduler = stack.enter_context(open_scheduler(config))
        return WSGIApp(service, scheduler, at_close=stack.pop_all().close)


class WSGIApp:
    """A WSGI application.

    Args:
        service: What it serves with.
        scheduler: The accounts; nobody else may use it.
        pictures: Instead of what the service says of pictures; on trio.
        at_close: Called when it is closed.
    """

    def __init__(
        self,
        service: Service,
        scheduler: Scheduler,
        *,
        pictures: PictureDesk | None = None,
        at_close: Callable[[], object] = lambda: None,
    ) -> None:
        self._app = ThreadedApp(service, scheduler, pictures=pictures, at_close=at_close)

    def __enter__(self) -> WSGIApp:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what goes on, and let go of the state; the end of the process does that, too."""
        self._app.close()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """See PEP 3333."""
        head = Head(environ["REQUEST_METHOD"], _read_path(environ), _read_headers(environ))
        request = ThreadedRequest(
            head, lambda limit: _receive_body(environ, limit), _watch(environ)
        )
        try:
            reply = self._app.answer(request)
        except ClientLeftError:
            start_response("499 Client Closed Request", [])  # nobody reads it
            return ()
        start_response(f"{reply.status} {_tell(reply.status)}", list(reply.headers))
        return reply


def _tell(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _read_path(environ: Environ) -> str:
    """The path within this application. It comes decoded, and is wanted as it was sent."""
    return quote(environ.get("PATH_INFO", "").encode("latin-1"), safe="/!$&'()*+,;=:@~-._") or "/"


def _read_headers(environ: Environ) -> RequestHeaders:
    fields = {
        name.removeprefix("HTTP_"): value
        for name, value in environ.items()
        if name.startswith("HTTP_") or (name in ("CONTENT_TYPE", "CONTENT_LENGTH") and value)
    }
    return RequestHeaders(
        (name.replace("_", "-").encode("latin-1"), value.encode("latin-1"))
        for name, value in fields.items()
    )


def _receive_body(environ: Environ, limit: int) -> bytes:
    """The whole body.

    Raises:
        BodyTooLargeError: It is longer than `limit` bytes.
        BadBodyError: It is shorter than its length says, that is none, or the server could not
            read it.
    """
    length = environ.get("CONTENT_LENGTH") or None
    if length is None and not environ.get("wsgi.input_terminated"):
        return b""
    left = None if length is None else check_length(length, limit)
    body = bytearray()
    while left is None or left > 0:
        try:
            piece = environ["wsgi.input"].read(_PIECE if left is None else min(left, _PIECE))
        except Exception as exc:  # each server has exceptions of its own for what clients do wrong
            raise BadBodyError("The body of the request is broken: it did not come whole.") from exc
        if not piece:
            break
        body += piece
        left = None if left is None else left - len(piece)
        if len(body) > limit:
            raise BodyTooLargeError
    if left:
        raise BadBodyError("The body of the request is broken: it did not come whole.")
    return bytes(body)


def _watch(environ: Environ) -> Callable[[], bool] | None:
    """How to see that the client has left, if the server lends us its socket."""
    for name in _SOCKETS:
        if isinstance(connection := environ.get(name), socket.socket):
            return lambda: _has_ended(connection)
    return None


def _has_ended(connection: socket.socket) -> bool:
    """Whether the far end of a connection has ended it. What it has sent since is left alone."""
    try:
        poll = select.poll()
        poll.register(connection, _END or select.POLLIN)
        if not poll.poll(0):
            return False
        # Where only a read tells of the end, one that stands behind unread bytes is not seen.
        return bool(_END) or not connection.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, ValueError):
        return False
    except OSError:
        return True

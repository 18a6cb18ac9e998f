"""Serving connections: the requests of each, one after the other, and seeing them off at a stop."""

from __future__ import annotations

import trio

from ..loops.sockets import Transport
from .connection import Connection
from .errors import ClientLeftError, StoppingError, encode_http_error
from .heads import MalformedRequestError
from .http_request import ConnectionLimits, ErrorHook, Handler

_LAST_CALL = 1.0
"""Seconds that a request gets to come whole when the server stops; its answer gets the grace."""


class Connections:
    """The connections that are open, so that a server that stops can see them off."""

    def __init__(self) -> None:
        self._open: set[tuple[Connection, trio.CancelScope]] = set()
        self._stopping = False
        self._changed = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._open)

    async def wait_for_none(self) -> None:
        """Wait until the last one is closed."""
        while self._open:
            await self._changed.park()

    def stop(self) -> None:
        """Close those that are idle; let the others finish what they are at."""
        self._stopping = True
        for connection, scope in list(self._open):
            connection.stop(trio.current_time() + _LAST_CALL)
            if connection.idle:
                scope.cancel()

    async def serve(
        self,
        transport: Transport,
        handler: Handler,
        limits: ConnectionLimits,
        on_error: ErrorHook,
    ) -> None:
        """Serve one connection to its end. `transport` is closed afterwards."""
        connection = Connection(transport, limits)
        if self._stopping:
            connection.stop(trio.current_time() + _LAST_CALL)
        scope = trio.CancelScope()
        entry = (connection, scope)
        self._open.add(entry)
        try:
            connection.read()
            with scope:
                await _serve_requests(connection, handler, on_error)
                await connection.close()
        except ClientLeftError:
            pass  # it left while it was told what is wrong
        except Exception as exc:  # a mistake of ours costs this connection, and no other
            on_error(exc)
        finally:
            self._open.discard(entry)
            self._changed.unpark_all()
            transport.close()


async def _serve_requests(connection: Connection, handler: Handler, on_error: ErrorHook) -> None:
    while True:
        try:
            request = await connection.next_request()
        except MalformedRequestError as exc:
            await connection.refuse(exc)
            return
        except StoppingError:
            await connection.send_away()
            return
        if request is None:
            return
        try:
            await handler(request)
        except ClientLeftError:
            return
        except StoppingError:
            await connection.send_away()
            return
        except Exception as exc:  # whatever a handler does, the client gets an end it can read
            on_error(exc)
            if connection.head_sent:
                connection.abort(reset=True)
                return
            message = "The server has made a mistake; its log says which."
            body = encode_http_error(message, "internal_error", "server_error")
            await connection.give_up(500, body)
            return
        if not await connection.finish_request():
            return

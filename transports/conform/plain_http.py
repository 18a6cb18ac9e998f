"""A plain HTTP/1.1 client: sends what it is told, and takes nothing for granted of what it gets."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import attrs

_GRAPHIC = re.compile("[!-~]+")
_MAX_BODY = 64 * 1024 * 1024
_MAX_HEAD = 256 * 1024


class UnreachableError(Exception):
    """Nobody answers there; the text says why."""


class ProtocolError(Exception):
    """What came is no proper HTTP, or did not come; the text says what is wrong with it."""


@attrs.frozen
class Address:
    """Where a server is."""

    host: str
    port: int
    secure: bool
    path: str
    """Of its API, without a slash at the end."""

    @classmethod
    def read(cls, url: str) -> Address:
        """The address in a URL.

        Raises:
            UnreachableError: It is none. It is not shown, since a password may be in it.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or not _GRAPHIC.fullmatch(url)  # else it would go on behind its line of the request
            or port == 0
            or "@" in parts.netloc
            or parts.query
            or parts.fragment
        ):
            raise UnreachableError(
                "the URL is no address such as http://127.0.0.1:3000/v1, in ASCII, with no name, "
                "password or query in it"
            )
        secure = parts.scheme == "https"
        return cls(parts.hostname, port or (443 if secure else 80), secure, parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """The header `host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


@attrs.frozen
class Response:
    """A whole response."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""
    body: bytes
    version: str = "HTTP/1.1"

    @property
    def closes(self) -> bool:
        """Nothing more comes on its connection, as it says itself."""
        said = (self.header("connection") or "").lower()
        return said != "keep-alive" if self.version == "HTTP/1.0" else said == "close"

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for known, value in self.headers if known == name), None)

    @property
    def media_type(self) -> str:
        """Of the body, without parameters."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    @property
    def json(self) -> Any:
        """The body, decoded.

        Raises:
            ProtocolError: It is no JSON.
        """
        try:
            return json.loads(self.body.decode("utf-8"))
        except (ValueError, RecursionError) as exc:
            raise ProtocolError(f"the body is no JSON: {self.body[:60]!r}") from exc


class Connection:
    """A connection to a server.

    Args:
        address: Where it is.
        timeout: Seconds for each thing that is waited for.
        step: The most bytes that are read at once.

    Raises:
        UnreachableError: There is none.
    """

    def __init__(self, address: Address, *, timeout: float, step: int = 65536) -> None:
        self._step = step
        self._received = b""
        self._ended = False
        try:
            sock = socket.create_connection((address.host, address.port), timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if address.secure:
                context = ssl.create_default_context()
                sock = context.wrap_socket(sock, server_hostname=address.host)
        except (OSError, UnicodeError) as exc:  # the latter for what can be no name
            where = f"{address.host} port {address.port}"
            reason = getattr(exc, "strerror", None) or exc
            raise UnreachableError(f"{where} cannot be reached: {reason}") from exc
        self._socket = sock

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            ProtocolError: They are not taken.
        """
        try:
            self._socket.sendall(data)
        except OSError as exc:
            raise ProtocolError(f"the connection broke while sending: {_tell(exc)}") from exc

    def receive_response(self, method: str) -> Response:
        """A whole response. Interim ones are passed over.

        Raises:
            ProtocolError: There is none.
        """
        while True:
            head = self.receive_head()
            if head.status >= 200:
                return attrs.evolve(head, body=b"".join(self.receive_pieces(method, head)))

    def receive_head(self) -> Response:
        """The head of a response, interim or not.

        Raises:
            ProtocolError: There is none.
        """
        while b"\r\n\r\n" not in self._received:
            if len(self._received) > _MAX_HEAD:
                raise ProtocolError("the head of the response has no end")
            self._receive_more("the head of the response")
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        version, _, rest = line.partition(" ")
        if version not in ("HTTP/1.0", "HTTP/1.1") or not _is_number(rest[:3]):
            raise ProtocolError(f"{line[:60]!r} is no status line")
        pairs = [field.partition(":") for field in fields]
        headers = tuple((name.strip().lower(), value.strip()) for name, _, value in pairs)
        return Response(int(rest[:3]), headers, b"", version)

    def receive_pieces(self, method: str, head: Response) -> Iterator[bytes]:
        """The body that comes behind a head, in the pieces that it comes in.

        Raises:
            ProtocolError: It is none, or not whole.
        """
        fields = dict(head.headers)
        if method == "HEAD" or head.status in (204, 304):
            return
        if "chunked" in fields.get("transfer-encoding", "").lower():
            yield from iter(self._receive_chunk, b"")
        elif "content-length" in fields:
            if not _is_number(fields["content-length"]):
                raise ProtocolError(f"{fields['content-length'][:20]!r} is no content-length")
            yield self._receive_exactly(int(fields["content-length"]))
        else:
            room = _MAX_BODY
            while room > 0:
                room -= len(self._received)
                yield self._received
                self._received = b""
                if self._ended:
                    return
                self._receive_some()

    def _receive_chunk(self) -> bytes:
        """The next chunk; empty at the end."""
        line = self._receive_line().partition(b";")[0].strip()
        try:
            size = int(line, 16)
        except ValueError:
            raise ProtocolError(f"{line[:20]!r} is no size of a chunk") from None
        if size == 0:
            while self._receive_line():
                pass
            return b""
        chunk = self._receive_exactly(size)
        if self._receive_exactly(2) != b"\r\n":
            raise ProtocolError("a chunk does not end where its size says")
        return chunk

    def _receive_line(self) -> bytes:
        while b"\r\n" not in self._received:
            self._receive_more("a chunk")
        line, _, self._received = self._received.partition(b"\r\n")
        return line

    def _receive_exactly(self, size: int) -> bytes:
        if size > _MAX_BODY:
            raise ProtocolError(f"a body of {size} bytes is too long for a check")
        while len(self._received) < size:
            self._receive_more("the body")
        data, self._received = self._received[:size], self._received[size:]
        return data

    def _receive_more(self, what: str) -> None:
        before = len(self._received)
        self._receive_some()
        if len(self._received) == before:
            raise ProtocolError(f"the connection ended in {what}")

    def _receive_some(self) -> None:
        try:
            data = self._socket.recv(self._step)
        except TimeoutError:
            raise ProtocolError("nothing more came in time") from None
        except OSError as exc:
            raise ProtocolError(f"the connection broke: {_tell(exc)}") from exc
        self._ended = not data
        self._received += data


def encode_request(
    address: Address, method: str, path: str, headers: Iterable[tuple[str, str]], body: bytes | None
) -> bytes:
    """A request as bytes.

    Args:
        address: Of the server.
        method: Of the request.
        path: The whole one.
        headers: Without `host` and `content-length`.
        body: None where there is none.
    """
    lines = [f"{method} {path} HTTP/1.1", f"host: {address.authority}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def _is_number(text: str) -> bool:
    """Whether it is one in digits, of a length that Python reads."""
    return text.isascii() and text.isdigit() and len(text) < 100


def _tell(exc: OSError) -> str:
    return exc.strerror or str(exc)

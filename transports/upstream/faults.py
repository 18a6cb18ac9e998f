"""What may go wrong with a far end: what is expected, how it is called, what is tried again."""

from __future__ import annotations

import re
import ssl

import httpcore
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, StreamReset
from h2.exceptions import H2Error

from .codings import CodingError
from .rules import find_unread

_REPEATED = re.compile(r":? (?:bytearray\()?b['\"].*")
"""What h11 repeats of a head that it cannot read; there may be a cookie in it."""
_CLOSED = "Server disconnected"
"""How httpcore tells a connection that was closed; so begins what it says, over HTTP/1.1 too."""

FAULTS = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,  # in the middle of a body, where it is no reason to ask again
    H2Error,  # httpcore gives it another name up to the head only
    CodingError,
    ssl.SSLError,
    OSError,
)
"""What may be expected of a network."""


def was_unread(exc: httpcore.RemoteProtocolError, connection: object) -> bool:
    """Whether the far end gave a kept connection up in good order, before it began a response, and
    the request crossed with that: it was not read. A reset is no such sign."""
    match exc.args:
        case (ConnectionTerminated(error_code=ErrorCodes.NO_ERROR, last_stream_id=0),):
            return True  # that it has read some, and not ours, httpcore tells in another way
        case (StreamReset(error_code=ErrorCodes.REFUSED_STREAM),):
            return True
    return str(exc).startswith(_CLOSED) and not find_unread(connection)


def tell_fault(exc: BaseException) -> str:
    """A fault in a few words."""
    match exc:
        case httpcore.ConnectTimeout():
            return "no connection in time"
        case httpcore.WriteTimeout():
            return "the request could not be sent in time"
        case httpcore.ProxyError():
            return f"the proxy refused: {exc}"
        case httpcore.ConnectionNotAvailable():
            return "the far end gave the connection up"
        case H2Error():
            return _tell_h2_fault(exc)
        case httpcore.ProtocolError(args=(H2Error() | ConnectionTerminated() | StreamReset(),)):
            return _tell_h2_fault(exc.args[0])
    innermost: BaseException | None = exc
    text = ""
    while innermost is not None:  # httpcore says what kind of fault; what it wraps says which
        text = getattr(innermost, "strerror", None) or str(innermost) or text
        if isinstance(innermost, BaseExceptionGroup):
            innermost = innermost.exceptions[0]
        elif innermost.__suppress_context__:
            innermost = innermost.__cause__
        else:
            innermost = innermost.__context__
    text = _REPEATED.sub("", " ".join(text.split()))
    return text[:200] or type(exc).__name__


def _tell_h2_fault(found: H2Error | ConnectionTerminated | StreamReset) -> str:
    """The same for HTTP/2. What h2 writes of one may be a bare number, or end in an object."""
    match found:
        case ConnectionTerminated(error_code=code):
            told = "the far end gave the connection up"
            return f"{told} (HTTP/2 error {code:d})" if code else told
        case StreamReset(error_code=code):
            return f"the far end broke the response off (HTTP/2 error {code:d})"
    text = " ".join(str(found).partition(": <")[0].split())
    return f"a breach of HTTP/2: {text if ' ' in text else type(found).__name__}"[:200]

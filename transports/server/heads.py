"""Heads of requests, before h11 sees them: where one ends, and whether it is beyond doubt.

h11 forgives what other readers forgive otherwise: lines that end without a CR, folded lines,
control characters in values. Where two readers take the same bytes for different requests,
somebody can hide one request in another. Nobody who means well sends such bytes, so they are
refused, and as soon as they are there: a client that does not speak HTTP at all need not wait for
a timeout to learn it.

What is refused depends on the bytes alone and never on how they were cut on their way. So the first
line is judged before whatever follows it, and nothing beyond the limit is looked at.
"""

from __future__ import annotations

import re

_MAX_FIELDS = 256
"""Browsers send some twenty fields; each one costs more to take apart than it costs to send."""

_MARKS = re.compile(
    # A set in front lets the search run over everything else ten times as fast.
    rb"[\x00-\x08\x0a-\x1f\x7f](?:"
    rb"(?<=\r)(?:(?P<end>\n\r\n)|(?P<fold>\n[ \t])|(?P<cr>[^\n]))"
    rb"|(?<=\n)(?<!\r\n)(?P<lf>)"
    rb"|(?<![\r\n])(?P<control>))"
)
_LONGEST_MARK = 4
_REASONS = {
    "fold": "a field must not be folded over several lines",
    "cr": "lines must end with CR LF",
    "lf": "lines must end with CR LF",
    "control": "a head must not hold control characters",
}
_REQUEST_LINE = re.compile(
    rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+ [\x21-\x7e]+ HTTP/(?P<version>[0-9]\.[0-9])"
)
_HOST = re.compile(
    # Possessive: nothing that was passed over is looked at again.
    rb"(\[[0-9A-Za-z:.%~_-]++\]|(?:[0-9A-Za-z._~!$&'()*+,;=-]++|%[0-9A-Fa-f]{2})*+)(:[0-9]*+)?"
)
_ORIGIN = re.compile(r"https?://[^/?#]+", re.IGNORECASE)


class MalformedRequestError(Exception):
    """What came is no request that can be answered; the text says why, and repeats nothing of it.

    Args:
        reason: Half a sentence.
        status: Of the answer.
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


class HeadFinder:
    """Finds the end of one head in bytes that grow. Bytes are looked at once.

    Args:
        max_bytes: The longest head there may be.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._seen = 0
        self._has_line = False

    def find(self, data: bytearray) -> int:
        """The length of the head that `data` begins with; 0 while its end is not there.

        Args:
            data: What has come; the same as the last time, and more.

        Raises:
            MalformedRequestError: This will never be one.
        """
        start = max(0, self._seen - _LONGEST_MARK + 1)
        self._seen = min(len(data), self._max_bytes)
        mark = _MARKS.search(data, start, self._max_bytes)
        if not self._has_line:
            line_end = data.find(b"\r\n", start, self._max_bytes)
            if line_end >= 0 and (mark is None or line_end <= mark.start()):
                _check_request_line(bytes(data[:line_end]))
                self._has_line = True
        if mark is None:
            if self._seen < self._max_bytes:
                return 0
            if self._has_line:
                raise MalformedRequestError("its fields are too long", 431)
            raise MalformedRequestError("its target is too long", 414)
        if mark.lastgroup != "end":
            raise MalformedRequestError(_REASONS[mark.lastgroup or ""])
        if data.count(b"\r\n", 0, mark.start()) > _MAX_FIELDS:
            raise MalformedRequestError("it has too many fields", 431)
        return mark.end()


def _check_request_line(line: bytes) -> None:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise MalformedRequestError("it must begin with a method, a target and a version")
    if match["version"] not in (b"1.0", b"1.1"):
        # Not 505: who is at fault is the client, and what is 5xx it would try again.
        raise MalformedRequestError("only HTTP/1.0 and HTTP/1.1 are spoken here")


def check_host(value: bytes) -> None:
    """See to it that a Host names one, or none at all (RFC 9112, 3.2; RFC 3986, 3.2.2).

    Raises:
        MalformedRequestError: It does neither.
    """
    if _HOST.fullmatch(value) is None:
        raise MalformedRequestError("its Host is no name of a host")


def split_target(method: str, target: str) -> tuple[str, str]:
    """The path and the query that a request is for, not decoded.

    Args:
        method: Of the request.
        target: A path, or a whole address as it is sent to proxies; `*` with OPTIONS only.

    Raises:
        MalformedRequestError: It is none of these, or the request is one for a proxy.
    """
    if method == "CONNECT":  # h11 would take any success for the start of a tunnel
        raise MalformedRequestError("it asks for a tunnel")
    origin = _ORIGIN.match(target)
    if origin is not None:
        target = target[origin.end() :]
        target = target if target.startswith("/") else "/" + target
    elif not target.startswith("/") and (method, target) != ("OPTIONS", "*"):
        raise MalformedRequestError("its target must be a path")
    path, _, query = target.partition("?")
    return path, query

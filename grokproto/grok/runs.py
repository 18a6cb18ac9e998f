"""Runs of tokens: frames that differ in nothing but their token, read many at a time.

Nearly all of a stream is lines like these, one for each token [recorded]:

    {"result":{"response":{"token":" sans","isThinking":false,...,"responseId":"..."}}}
    {"result":{"response":{"token":"-IO","isThinking":false,...,"responseId":"..."}}}

To decode each of them as if it were the first is most of the work that a stream is. So the first is
decoded and a `Mould` made of it: the bytes before its token and those behind it. Lines that begin
and end with the very same bytes are frames with the very same fields, if what is between is the
inside of a JSON string; and the inside of a JSON string that needs no other escapes than ours is
what a client is to be sent. So a run is cut out of many lines at once and never decoded.

Why that cannot go wrong, whatever Grok sends:

1. The mould is proved when it is made: with another token between its halves the decoder must give
   the same frame with just that token. So what is between them is the token, and nothing else is.
2. What stands in for a token must be the inside of a JSON string, whole, in UTF-8: no quote, no
   control character, no backslash but that of an escape. Then it does not matter to anything
   around it, and the line decodes to the frame of the mould with this token.
3. It must be written as `msgspec` would write it, so that passing it on gives the same bytes as
   decoding and encoding it; and it must not hold a `<`, with which Grok's markup begins.

What does not fit is given back as it is, and read the careful way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from ..answer import Run
from .frames import Frame, decode_frame, find_response

_TOKEN = b'"token":"'
_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)

_is_plain = re.compile(rb"[ !#-;=-\[\]-\x7f]+").fullmatch
"""ASCII that JSON escapes nowhere, less `<`."""
_WRITTEN_ALIKE = re.compile(rb'[^"\\<\x00-\x1f]*(?:\\["\\nrt][^"\\<\x00-\x1f]*)*')
"""The inside of a string with those escapes that everybody writes alike."""
_LINES_ALIKE = re.compile(rb'[^"\\<\x00-\x09\x0b-\x1f]*(?:\\["\\nrt][^"\\<\x00-\x09\x0b-\x1f]*)*')
"""Several of them, a line each."""

_decode_text = msgspec.json.Decoder(str).decode


class Mould:
    """What the lines of a run have in common.

    Args:
        head: The bytes before the token.
        tail: Those behind it, without the line feed.
        thinking: The tokens are the model's thinking, not its answer.
        identity: Whatever the frames say of whose they are.
    """

    __slots__ = ("_end", "_head", "_least", "_seam", "_start", "_tail", "_thinking", "identity")

    def __init__(self, head: bytes, tail: bytes, *, thinking: bool, identity: object) -> None:
        self.identity = identity
        self._head = head
        self._tail = tail + b"\n"
        self._seam = self._tail + head
        self._start = len(head)
        self._end = -len(self._tail)
        self._least = self._start - self._end
        self._thinking = thinking

    def cut(self, lines: bytes) -> Sequence[Run | bytes]:
        """Cut lines into runs of this mould and what is between them.

        Args:
            lines: Whole lines, each with its line feed.

        Returns:
            All of it, in order. The bytes are whole lines too.
        """
        head, tail = self._head, self._tail
        least = self._least
        if lines.startswith(head) and lines.endswith(tail) and len(lines) >= least:
            tokens = lines[self._start : self._end].split(self._seam)
            plain = tokens[0] if len(tokens) == 1 else b"".join(tokens)
            if _is_plain(plain) is not None:
                if not all(tokens):
                    tokens = [token for token in tokens if token]
                return (Run(tokens, plain.decode("ascii"), self._thinking),)
            return self._cut_tokens(tokens)
        start = 0 if lines.startswith(head) else lines.find(b"\n" + head) + 1
        end = lines.rfind(tail) + len(tail)
        if end - start < least or not lines.startswith(head, start):
            return (lines,)
        tokens = lines[start + len(head) : end - len(tail)].split(self._seam)
        cut = [lines[:start], *self._cut_tokens(tokens), lines[end:]]
        return [piece for piece in cut if piece]

    def _cut_tokens(self, tokens: list[bytes]) -> list[Run | bytes]:
        """Make runs of what stood between the halves; some may be more than a token."""
        run = self._make_run(tokens)
        if run is not None:
            return [run]
        cut: list[Run | bytes] = []
        alike: list[bytes] = []
        for token in tokens:
            if _WRITTEN_ALIKE.fullmatch(token) is not None and _is_text(token):
                alike.append(token)
                continue
            self._give(alike, cut)
            alike = []
            cut.append(self._head + token + self._tail)
        self._give(alike, cut)
        return cut

    def _give(self, tokens: list[bytes], cut: list[Run | bytes]) -> None:
        run = self._make_run(tokens)
        if run is not None:
            cut.append(run)

    def _make_run(self, tokens: list[bytes]) -> Run | None:
        """A run of tokens; None where there are none, or one of them is not what it should be."""
        tokens = [token for token in tokens if token]
        lines = b"\n".join(tokens)
        if not tokens or _LINES_ALIKE.fullmatch(lines) is None:
            return None
        if lines.count(b"\n") != len(tokens) - 1:
            return None  # one holds a line feed, which is no part of a string
        try:
            if b"\\" in lines:
                text = _decode_text(b'"' + b"".join(tokens) + b'"')
                lines.decode()  # a character must not be cut over two tokens
            else:
                text = lines.decode().replace("\n", "")
        except UnicodeDecodeError:
            return None
        return Run(tokens, text, self._thinking)


def _is_text(token: bytes) -> bool:
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True


def build_mould(line: bytes, frame: Frame, *, thinking: bool) -> Mould | None:
    """Make a mould of a line that was decoded; None where its token cannot be told from the rest.

    Args:
        line: One line, without its line feed.
        frame: What it decodes to. Its token is a text.
        thinking: What its token is.
    """
    found = line.find(_TOKEN)
    if found < 0:
        return None
    start = found + len(_TOKEN)
    string = _STRING.match(line, start)
    assert string is not None  # it may be empty
    head, tail = line[:start], line[string.end() :]
    response = find_response(frame)
    other = "b" if response.token == "a" else "a"  # noqa: S105 - a token of an answer
    proof = decode_frame(head + other.encode() + tail)
    if proof is None:  # the line is damaged elsewhere
        return None
    proved = find_response(proof)
    if proved.token != other:
        return None
    proved.token = response.token
    assert proof == frame
    return Mould(head, tail, thinking=thinking, identity=response.response_id)

"""Finding the JSON objects in Grok's streamed bytes, wherever the reads are cut.

[recorded] The stream is one compact JSON object after the other, each ended by a line feed. Some
recordings show objects that follow each other with nothing between (`}{`), and clients know of SSE
framing (`data: {...}`), CRLF and blank lines (docs/wire.md 3). All of that is legal here, and an
object is given out as soon as its closing brace is there.

The rules, which hold whatever the cuts:

1. Only a line feed ends a line, and every line starts afresh: what is wrong on one line cannot
   harm the next.
2. A line may begin with `data:`. After that come objects, with nothing or blanks between them.
3. Whatever else stands on a line makes the rest of that line garbage, which is passed over.

There is a fast way and a careful way, and they agree. Nearly always a line is one object: it is
offered to the decoder whole, which is the cheapest test there is. Where the decoder declines, or an
object seems to end before its line does, an `ObjectScanner` finds the braces. It never looks at a
byte twice, so a line of many megabytes in small reads costs no more than its length.

Faster still are runs of tokens (`runs`), which are cut out of many lines at once.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from ..answer import Run
from .runs import Mould

_BLANKS = b" \t\r"
_NOT_BLANK = re.compile(rb"[^ \t\r]")
# Possessive: nothing that was passed over is looked at again.
_INSIDE_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_BETWEEN_BRACES = re.compile(rb'(?:[^"{}]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_MAX_DEPTH = 1024
"""Objects in one another; no decoder takes more."""

_WINDOW = 16 * 1024
"""Bytes that are cut into runs at a time: when the mould changes, the rest is cut anew."""

_SMALL = 512
"""Bytes of a piece that is joined to the one before: each costs some forty bytes beside its own."""

_SSE_DATA = b"data:"
_SSE_DONE = b"[DONE]"
_SSE_FIELDS = (b":", b"event:", b"id:", b"retry:")


_OPENING, _QUOTE, _BACKSLASH = b'{"\\'


def _find_end(passed_over: re.Pattern[bytes], data: bytes, position: int) -> int:
    found = passed_over.match(data, position)
    assert found is not None  # it may be of nothing
    return found.end()


def _add(pieces: list[bytes], data: bytes) -> None:
    if len(data) < _SMALL and pieces and len(pieces[-1]) < _SMALL:
        pieces[-1] += data
    else:
        pieces.append(data)


class ObjectScanner:
    """Cuts one line into its JSON objects by counting braces outside of strings.

    It does not check that the objects are JSON; a decoder does. It does see to it that no byte
    is looked at twice.

    Args:
        limit: The most bytes that may stand between the ends of two objects.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._pieces: list[bytes] = []
        self._pending = 0
        """Bytes since the last object was given out, or since the line began."""
        self.garbage = False
        """The rest of the line is to be passed over."""
        self.overflow = False
        """There was no end within the limit. Nothing more is given out."""

    @property
    def inside_object(self) -> bool:
        """Whether an object has begun and not ended."""
        return self._depth > 0

    def receive_data(self, data: bytes) -> list[bytes]:
        """Take more of the line; give out the objects that it completes."""
        objects: list[bytes] = []
        position = 0
        start = 0
        """Where the part of `data` begins that belongs to the object that is open."""
        given = 0
        """Where the last object ended."""
        while position < len(data) and not (self.garbage or self.overflow):
            if self._depth == 0:
                found = _NOT_BLANK.search(data, position)
                if found is None:
                    break
                start = found.start()
                if data[start] != _OPENING:
                    self.garbage = True
                    break
                self._depth = 1
                position = start + 1
            elif self._escaped:
                self._escaped = False
                position += 1
            elif self._in_string:
                position = _find_end(_INSIDE_STRING, data, position)
                if position == len(data):
                    break
                self._in_string = data[position] == _BACKSLASH
                self._escaped = self._in_string
                position += 1
            else:
                position = _find_end(_BETWEEN_BRACES, data, position)
                if position == len(data):
                    break
                mark = data[position]
                position += 1
                if mark == _QUOTE:
                    self._in_string = True
                elif mark == _OPENING:
                    self._depth += 1
                    self.garbage = self._depth > _MAX_DEPTH
                else:
                    self._depth -= 1
                    if self._depth == 0:
                        self.overflow = self._pending + position - given > self._limit
                        _add(self._pieces, data[start:position])
                        if not self.overflow:
                            objects.append(b"".join(self._pieces))
                        self._pieces.clear()
                        self._pending = 0
                        given = position
        if self._depth:
            _add(self._pieces, data[start:])
        self._pending += len(data) - given
        self.overflow = self.overflow or self._pending > self._limit
        return objects


class Taker(Protocol):
    """Takes what is found in a stream."""

    mould: Mould | None
    """What the lines of a run look like, if one is to be expected."""

    def take(self, data: bytes) -> bool:
        """Take bytes that may be one JSON object; say whether they were."""
        ...

    def take_damaged(self, data: bytes) -> bool:
        """Take an object that `take` has declined, whose braces match all the same; say whether
        anything could be made of it."""
        ...

    def take_run(self, run: Run, mould: Mould) -> None:
        """Take a run of tokens, which was cut out by a mould."""
        ...


class LineReader:
    """Takes the bytes of a stream and offers each object in them to somebody.

    Args:
        taker: To whom. It must not refer to this in turn: what a broken-off answer has left here
            may be large, and is to go with the last reference to it.
        max_line_bytes: The most that may stand between two objects, or two line feeds.
    """

    def __init__(self, taker: Taker, max_line_bytes: int) -> None:
        self._taker = taker
        self._take = taker.take
        self._max_line_bytes = max_line_bytes
        self._window = min(_WINDOW, max_line_bytes)
        self._pieces: list[bytes] = []
        self._size = 0
        self._scanner: ObjectScanner | None = None
        self._is_field = False
        """The line is one of the SSE fields that say nothing to us."""
        self.skipped = 0
        """Lines, or objects on a line, that could not be made sense of."""
        self.done = False
        """`data: [DONE]` was seen."""
        self.overflow = False
        """A line was too long. Nothing more is read."""

    def receive_data(self, data: bytes) -> None:
        """Take a piece of the stream; not after `overflow`."""
        if b"\n" not in data and b"}" not in data and self._scanner is None:
            # A piece from the middle of a long line.
            _add(self._pieces, data)
            self._size = size = self._size + len(data)
            if size > self._max_line_bytes:
                self._scan(self._join())
            return
        end = data.rfind(b"\n") + 1
        if not end:
            self._begin_line(data)
            return
        rest = b""
        if end < len(data):
            data, rest = data[:end], data[end:]
        if self._pieces:
            data = self._join() + data
        elif self._scanner is not None:
            line, _, data = data.partition(b"\n")
            self._feed(self._scanner, line)
            self._forget_line()
            if self.overflow:
                return
        if len(data) <= self._window:
            self._read_window(data)
        else:
            self._read_windows(data)
        if rest and not self.overflow:
            self._begin_line(rest)

    def receive_eof(self) -> bool:
        """Take the end of the stream; say whether it came in the middle of an object."""
        if self._pieces:
            self._scan(self._join())
        inside = self._scanner is not None and self._scanner.inside_object
        self._forget_line()
        return inside

    def _join(self) -> bytes:
        line = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return line

    def _read_windows(self, lines: bytes) -> None:
        start = 0
        while start < len(lines) and not self.overflow:
            end = lines.rfind(b"\n", start, start + self._window) + 1
            if end:
                self._read_window(lines[start:end])
            else:
                end = lines.index(b"\n", start) + 1
                self._read_line(lines[start : end - 1])
            start = end

    def _read_window(self, lines: bytes) -> None:
        """A few whole lines, none too long: runs as runs, and the others one by one."""
        mould = self._taker.mould
        if mould is None:
            pieces: Sequence[Run | bytes] = (lines,)
        else:
            pieces = mould.cut(lines)
            if len(pieces) == 1 and not isinstance(pieces[0], bytes):
                self._taker.take_run(pieces[0], mould)
                return
        waiting = deque((piece, mould) for piece in pieces)
        while waiting:
            piece, mould = waiting.popleft()
            if isinstance(piece, bytes):
                rest = self._read_each(piece)
                if rest:
                    mould = self._taker.mould
                    cut = (rest,) if mould is None else mould.cut(rest)
                    waiting.extendleft((piece, mould) for piece in reversed(cut))
            else:
                assert mould is not None
                self._taker.take_run(piece, mould)

    def _read_each(self, lines: bytes) -> bytes:
        """Whole lines, one by one; give back the rest as soon as there is a new mould for it."""
        mould = self._taker.mould
        each = lines.split(b"\n")
        for index, line in enumerate(each):
            if line:
                self._read_line(line)
                if self._taker.mould is not mould:
                    return b"\n".join(each[index + 1 :])
        return b""

    def _read_line(self, line: bytes) -> None:
        """A whole line."""
        payload = line[len(_SSE_DATA) :] if line.startswith(_SSE_DATA) else line
        if len(payload) > self._max_line_bytes or not self._take(payload):
            self._scan(line)
            self._forget_line()

    def _begin_line(self, data: bytes) -> None:
        """More of a line whose end is yet to come."""
        if self._scanner is not None:
            self._feed(self._scanner, data)
            return
        _add(self._pieces, data)
        self._size += len(data)
        if b"}" not in data and self._size <= self._max_line_bytes:
            return
        line = self._join()
        payload = line[len(_SSE_DATA) :] if line.startswith(_SSE_DATA) else line
        if len(payload) <= self._max_line_bytes and data.endswith(b"}") and self._take(payload):
            self._scanner = ObjectScanner(self._max_line_bytes)
        else:
            self._scan(line)

    def _scan(self, line: bytes) -> None:
        """Go the careful way, from the start of a line on."""
        self._scanner = ObjectScanner(self._max_line_bytes)
        self._is_field = line.startswith(_SSE_FIELDS)
        if line.startswith(_SSE_DATA):
            line = line[len(_SSE_DATA) :]
            if line.strip(_BLANKS) == _SSE_DONE:
                self.done = True
                self._is_field = True
        self._feed(self._scanner, line)

    def _feed(self, scanner: ObjectScanner, data: bytes) -> None:
        for found in scanner.receive_data(data):
            if not self._take(found) and not self._taker.take_damaged(found):
                self.skipped += 1
        self.overflow = scanner.overflow

    def _forget_line(self) -> None:
        if self._scanner is not None and not self._is_field:
            self.skipped += self._scanner.garbage or self._scanner.inside_object
        self._scanner = None
        self._is_field = False

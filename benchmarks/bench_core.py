"""How near to the floor are the reader and the encoder? `python -m benchmarks.bench_core`

Bytes of Grok's in, server-sent events out, as somebody uses the core in a framework of their own.
Beside it stand, in the same process and taking turns with it:

* the floor, as little as can be done in Python: msgspec decodes the one field that is wanted, all
  lines of a read at once, and a chunk is a prefix, the token and a suffix. It keeps no rule of the
  protocol; what the core costs above it is what the rules cost;
* the plain way, that of the yardsticks (`yardsticks/lines.py`): a `json.loads` for each line and a
  `json.dumps` for each chunk.

The streams are text, and kinds that have more to them. Figures are medians; only the ratios mean
anything.
"""

from __future__ import annotations

from functools import partial

import msgspec

from grokproto import DIALECTS, NEED_DATA, AnswerReader, Settings, answer
from grokproto.request import ChatRequest
from grokproto.settings import ImageMode, SearchFormat

from . import streams
from .measuring import measure, tell_versions
from .yardsticks.lines import convert

LINES = 2000
ROUNDS = 7
SIZES = (1, 16)
"""Lines that a read has."""
KINDS = {
    "text": streams.plain(LINES),
    "reasoning": streams.reasoning(LINES),
    "search": streams.search(LINES),
    "pictures": streams.pictures(LINES),
}
SETTINGS = Settings(
    search=frozenset({SearchFormat.INLINE, SearchFormat.LIST}), image_mode=ImageMode.UPSTREAM
)
"""What was found is shown where it is cited and as a list; pictures are not fetched."""


def group(size: int, lines: list[bytes]) -> list[bytes]:
    """The lines in reads of this many."""
    return [b"".join(lines[start : start + size]) for start in range(0, len(lines), size)]


class _Token(msgspec.Struct):
    token: str | None = None


class _Response(msgspec.Struct):
    response: _Token


class _Line(msgspec.Struct):
    result: _Response


_DECODER = msgspec.json.Decoder(_Line)
_PREFIX = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"grok-3",'
    b'"choices":[{"index":0,"delta":{"content":'
)
_SUFFIX = b'},"finish_reason":null}]}\n\n'


def floor(reads: list[bytes]) -> None:
    """As little as can be done in Python."""
    encode = msgspec.json.encode
    for data in reads:
        pieces: list[bytes] = []
        for line in _DECODER.decode_lines(data):
            token = line.result.response.token
            if token:
                pieces += _PREFIX, encode(token), _SUFFIX
        b"".join(pieces)


def plainly(lines: list[bytes]) -> None:
    """As it is plainly written: a dict for each line, and one for each chunk."""
    for line in lines:
        convert(line, "chatcmpl-1", 1)


def read(reads: list[bytes]) -> None:
    """The reader alone."""
    reader = AnswerReader()
    for data in reads:
        reader.receive_data(data)
        while reader.next_run() is not NEED_DATA:
            pass


def read_and_encode(reads: list[bytes]) -> None:
    """The reader and the encoder, as somebody uses them in another framework."""
    reader = AnswerReader()
    encoder = DIALECTS["openai_chat"].build_encoder(ChatRequest("grok-3", (), True), "1", 1)
    for data in reads:
        reader.receive_data(data)
        pieces = []
        while (event := reader.next_run()) is not NEED_DATA:
            if isinstance(event, answer.Run):
                pieces.append(encoder.encode_run(event))
            else:
                pieces.append(encoder.encode(event))
        b"".join(pieces)


def main() -> None:
    """Measure and print."""
    print(f"{tell_versions('msgspec', 'attrs')}; {LINES} lines, median of {ROUNDS} rounds")
    print("of the floor; of plain: how many times as fast as the plain way\n")
    print(f"{'stream':12}{'lines a read':>13}{'work':>20}{'us a line':>10}", end="")
    print(f"{'spread':>9}{'of floor':>10}{'of plain':>10}")
    for kind, lines in KINDS.items():
        for size in SIZES:
            reads = group(size, lines)
            timings = measure(
                {
                    "floor": partial(floor, reads),
                    "plain": partial(plainly, lines),
                    "reader": partial(read, reads),
                    "reader + encoder": partial(read_and_encode, reads),
                },
                ROUNDS,
            )
            for name, timing in timings.items():
                print(
                    f"{kind:12}{size:13}{name:>20}{timing.median / len(lines) * 1e6:10.2f}"
                    f"{timing.spread:9.0%}{timing.median / timings['floor'].median:10.2f}"
                    f"{timings['plain'].median / timing.median:10.2f}"
                )


if __name__ == "__main__":
    main()

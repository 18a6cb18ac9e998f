"""How near to the floor is the core? `python -m benchmarks.bench_core`

The floor for reading is `json.loads` of each line; the floor for writing is one `json.dumps` of a
chunk for each token. Both together are what the plainest program must do. Everything is run in one
process, in rounds that take turns, and the figures are medians; only the ratios mean anything.

The second table has other kinds of streams beside plain text, and a lower floor: msgspec decodes
the one field that is wanted, all lines of a read at once, and a chunk is a prefix, the token and a
suffix. It keeps no rule of the protocol; what the core costs above it is what the rules cost. The
plain way is that of the yardsticks, `yardsticks/lines.py`.
"""

from __future__ import annotations

import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import msgspec

from grokproto import DIALECTS, NEED_DATA, AnswerReader, Exchange, ModelTable, Settings, answer
from grokproto import commands as c
from grokproto import events as e
from grokproto.lease import Lease
from grokproto.request import ChatRequest
from grokproto.secret import Secret
from grokproto.settings import ImageMode, SearchFormat

from . import streams
from .yardsticks.lines import convert

TOKENS = 2000
ROUNDS = 9
REPEATS = 200

HEAD = b'{"result":{"response":{"token":"'
TAIL = (
    b'","isThinking":false,"isSoftStop":false,"messageTag":"final",'
    b'"responseId":"00000000-0000-4000-8000-000000000012"}}}\n'
)
LINES = [HEAD + b"word%d " % n + TAIL for n in range(TOKENS)]
BODY = json.dumps(
    {"model": "grok-3", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
).encode()


def group(size: int, lines: list[bytes] = LINES) -> list[bytes]:
    """The lines in reads of this many."""
    return [b"".join(lines[start : start + size]) for start in range(0, len(lines), size)]


KINDS = {
    "text": streams.plain(TOKENS),
    "reasoning": streams.reasoning(TOKENS),
    "search": streams.search(TOKENS),
    "pictures": streams.pictures(TOKENS),
}
KINDS_SETTINGS = Settings(
    search=frozenset({SearchFormat.INLINE, SearchFormat.LIST}), image_mode=ImageMode.UPSTREAM
)
"""What was found is shown where it is cited and as a list; pictures are not fetched."""


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


def floor_msgspec(reads: list[bytes]) -> None:
    """As little as can be done in Python: decode, and put the token between two constants."""
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


def floor_reading() -> None:
    """The plainest reading: one `json.loads` a line, and the token picked out."""
    for line in LINES:
        json.loads(line)["result"]["response"]["token"]


def floor_both() -> None:
    """The plainest program: read each line, dump a chunk for each token."""
    for line in LINES:
        token = json.loads(line)["result"]["response"]["token"]
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "grok-3",
            "choices": [{"index": 0, "delta": {"content": token}, "finish_reason": None}],
        }
        f"data: {json.dumps(chunk)}\n\n".encode()


def reading(reads: list[bytes]) -> None:
    """The reader alone."""
    reader = AnswerReader()
    for data in reads:
        reader.receive_data(data)
        while reader.next_run() is not NEED_DATA:
            pass


def both(reads: list[bytes]) -> None:
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


def exchange(reads: list[bytes], settings: Settings = Settings()) -> None:  # noqa: B008
    """A whole exchange, with a host in memory."""
    lease = Lease(1, "a", "grok-3", {"sso": Secret("x")})
    numbers = itertools.count()
    each = Exchange(
        BODY,
        dialect=DIALECTS["openai_chat"],
        models=ModelTable(),
        settings=settings,
        new_id=lambda: str(next(numbers)),
        created=1,
    )
    rest = iter(reads)
    done = e.Completed()
    command = each.handle(e.Start(), 0.0)
    while True:
        kind = type(command)
        event: e.Event = done
        if kind is c.ReceiveData:
            data = next(rest, None)
            event = e.EndOfMessage() if data is None else e.DataReceived(data)
        elif kind is c.AcquireCredential:
            event = e.CredentialAcquired(lease)
        elif kind is c.SendRequest:
            event = e.ResponseReceived(200)
        elif kind is c.Finish:
            return
        command = each.handle(event, 0.0)


def measure(works: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Seconds of each work in each round; the works take turns."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            started = time.process_time()
            work()
            times[name].append(time.process_time() - started)
    return times


def repeat(work: Callable[[], None]) -> None:
    """Do something short many times."""
    for _ in range(REPEATS):
        work()


def compare_kinds() -> None:
    """Measure and print the other kinds of streams."""
    print("\nof the floor: msgspec; of plain: how many times as fast as the plain way\n")
    print(f"{'stream':12}{'lines a read':>13}{'work':>20}{'us a line':>10}", end="")
    print(f"{'spread':>9}{'of floor':>10}{'of plain':>10}")
    for kind, lines in KINDS.items():
        for size in (1, 16):
            reads = group(size, lines)
            times = measure(
                {
                    "floor": partial(floor_msgspec, reads),
                    "plain": partial(plainly, lines),
                    "reader + encoder": partial(both, reads),
                    "exchange": partial(exchange, reads, KINDS_SETTINGS),
                }
            )
            middles = {name: statistics.median(seconds) for name, seconds in times.items()}
            for name, middle in middles.items():
                spread = (max(times[name]) - min(times[name])) / middle
                print(
                    f"{kind:12}{size:13}{name:>20}{middle / len(lines) * 1e6:10.2f}{spread:9.0%}"
                    f"{middle / middles['floor']:10.2f}{middles['plain'] / middle:10.2f}"
                )


def main() -> None:
    """Measure and print."""
    one, many = group(1), group(16)
    empty = [HEAD + b"x" + TAIL]
    times = measure(
        {
            "floor: json.loads": floor_reading,
            "floor: json.loads + json.dumps": floor_both,
            "reader, 1 line a read": lambda: reading(one),
            "reader, 16 lines a read": lambda: reading(many),
            "reader + encoder, 1 line a read": lambda: both(one),
            "reader + encoder, 16 lines a read": lambda: both(many),
            "exchange, 1 line a read": lambda: exchange(one),
            "exchange, 16 lines a read": lambda: exchange(many),
        }
    )
    short = measure({"exchange of one token": lambda: repeat(lambda: exchange(empty))})
    print(
        f"Python {platform.python_version()}, msgspec {version('msgspec')}, "
        f"attrs {version('attrs')}; {TOKENS} lines, median of {ROUNDS} rounds\n"
    )
    read_floor = statistics.median(times["floor: json.loads"])
    both_floor = statistics.median(times["floor: json.loads + json.dumps"])
    print(f"{'work':36}{'us a line':>10}{'spread':>9}{'of loads':>10}{'of both':>10}")
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        spread = (max(seconds) - min(seconds)) / middle
        print(
            f"{name:36}{middle / TOKENS * 1e6:10.2f}{spread:9.0%}"
            f"{middle / read_floor:10.2f}{middle / both_floor:10.2f}"
        )
    ((name, seconds),) = short.items()
    print(f"\n{name}: {statistics.median(seconds) / REPEATS * 1e6:.0f} us")
    compare_kinds()


if __name__ == "__main__":
    main()

"""What does a whole exchange cost in memory? `python -m benchmarks.bench_exchange`

From the client's body to the last command, with a host that answers each command at once: reading
the request, the payload for Grok, the credential, reading the stream, the client's bytes, and every
deadline. The first table is an exchange that has next to nothing to say, which is the price of a
request whatever is in its stream; the second is what each line of a stream adds, beside reader and
encoder alone and beside the floor and the plain way of `bench_core`.
"""

from __future__ import annotations

import itertools
import json
from functools import partial

from grokproto import DIALECTS, Exchange, ModelTable, Settings
from grokproto import commands as c
from grokproto import events as e
from grokproto.lease import Lease
from grokproto.secret import Secret

from . import streams
from .bench_core import KINDS, SETTINGS, floor, group, plainly, read_and_encode
from .measuring import measure, tell_versions

ROUNDS = 7
REPEATS = 200
DIALECT = DIALECTS["openai_chat"]
MODELS = ModelTable()
LEASE = Lease(1, "a", "grok-3", {"sso": Secret("x")})
NOTHING = [b'{"result":{"response":{"isSoftStop":true,"messageTag":"final"}}}\n']
ONE = [*streams.plain(1), *NOTHING]


def build_body(*, stream: bool) -> bytes:
    """A short question."""
    messages = [{"role": "user", "content": "hi"}]
    return json.dumps({"model": "grok-3", "stream": stream, "messages": messages}).encode()


STREAM, WHOLE = build_body(stream=True), build_body(stream=False)


def exchange(reads: list[bytes], settings: Settings = SETTINGS, body: bytes = STREAM) -> None:
    """One exchange, with a host in memory."""
    numbers = itertools.count()
    each = Exchange(
        body,
        dialect=DIALECT,
        models=MODELS,
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
            event = e.CredentialAcquired(LEASE)
        elif kind is c.SendRequest:
            event = e.ResponseReceived(200)
        elif kind is c.Finish:
            return
        command = each.handle(event, 0.0)


def repeat(reads: list[bytes], body: bytes) -> None:
    """The same, many times."""
    for _ in range(REPEATS):
        exchange(reads, body=body)


def main() -> None:
    """Measure and print."""
    print(f"{tell_versions('msgspec', 'attrs')}; median of {ROUNDS} rounds\n")
    short = measure(
        {
            "nothing to say, stream": partial(repeat, NOTHING, STREAM),
            "nothing to say, one JSON": partial(repeat, NOTHING, WHOLE),
            "one token, stream": partial(repeat, ONE, STREAM),
        },
        ROUNDS,
    )
    print(f"{'exchange':28}{'us':>8}{'spread':>9}")
    for name, timing in short.items():
        print(f"{name:28}{timing.median / REPEATS * 1e6:8.1f}{timing.spread:9.0%}")
    print("\nof the floor; of plain: how many times as fast as the plain way\n")
    print(f"{'stream':12}{'lines a read':>13}{'work':>20}{'us a line':>10}", end="")
    print(f"{'spread':>9}{'of floor':>10}{'of plain':>10}")
    for kind, lines in KINDS.items():
        for size in (1, 16):
            reads = group(size, lines)
            timings = measure(
                {
                    "floor": partial(floor, reads),
                    "plain": partial(plainly, lines),
                    "reader + encoder": partial(read_and_encode, reads),
                    "exchange": partial(exchange, reads),
                },
                ROUNDS,
            )
            for name in ("reader + encoder", "exchange"):
                timing = timings[name]
                print(
                    f"{kind:12}{size:13}{name:>20}{timing.median / len(lines) * 1e6:10.2f}"
                    f"{timing.spread:9.0%}{timing.median / timings['floor'].median:10.2f}"
                    f"{timings['plain'].median / timing.median:10.2f}"
                )


if __name__ == "__main__":
    main()

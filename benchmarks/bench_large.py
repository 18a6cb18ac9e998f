"""Is what is large read in time in proportion to it? `python -m benchmarks.bench_large`

A line of 5 MB that comes in reads of 1 KiB, such lines as somebody would send who wants to keep the
server busy, a conversation of 64 KiB in 2,000 turns, and 10 MB of pictures in a request; each also
of twice the size. The floor is one `json.loads` of the same bytes.
Medians of rounds that take turns; only ratios mean anything.
"""

from __future__ import annotations

import base64
import functools
import itertools
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from grokproto import (
    DIALECTS,
    NEED_DATA,
    AnswerReader,
    BodyConverter,
    Exchange,
    ModelTable,
    Settings,
    read_question,
)
from grokproto import commands as c
from grokproto import events as e
from grokproto.lease import Lease
from grokproto.secret import Secret
from grokproto.settings import LongInput

from .measuring import measure, tell_versions

ROUNDS = 7
READ_BYTES = 1024
LINE_BYTES = 5_000_000
HISTORY_BYTES = 64 * 1024
TURNS = 2000
PICTURES = 4
PICTURES_BYTES = 10_000_000
"""Of base64."""


SENTENCE = "All work and no play. "
CARD = r"<grok:render card_id=\"a\" card_type=\"citation_card\"></grok:render>"


def build_line(name: str, size: int) -> bytes:
    """A frame with one long text: its token, its final message, or a field that nobody knows."""
    text = SENTENCE * (size // len(SENTENCE))
    value = {"message": text} if name == "modelResponse" else text
    return json.dumps({"result": {"response": {name: value}}}).encode() + b"\n"


@functools.lru_cache(maxsize=2)
def cut(line: bytes) -> list[bytes]:
    """The reads that it comes in. To cut them is no work of the reader's."""
    return [line[start : start + READ_BYTES] for start in range(0, len(line), READ_BYTES)]


def read_line(line: bytes) -> None:
    """Read it in small pieces."""
    reader = AnswerReader()
    for data in cut(line):
        reader.receive_data(data)
        while reader.next_event() is not NEED_DATA:
            pass


def build_odd_line(text: str, size: int) -> bytes:
    """A frame whose token is this again and again, as JSON has it; and half of a surrogate pair,
    which makes the frame a damaged one."""
    token = text * (size // len(text)) + r"\ud800"
    return b'{"result":{"response":{"token":"%b"}}}\n' % token.encode()


def look_for_stops(line: bytes) -> None:
    """Read it for a client that wants the text to end before any of four strings."""
    stop = ["abac", "abad", "abae", "abaf"]
    messages = [{"role": "user", "content": "hi"}]
    body = {"model": "grok-3", "stream": True, "stop": stop, "messages": messages}
    question = read_question(json.dumps(body).encode())
    for _ in BodyConverter(question, identity="x", created=1).convert(cut(line)):
        pass


def build_history(turns: int) -> bytes:
    """A request with so many turns, each as long as fits 2,000 into 64 KiB."""
    text = "x" * (HISTORY_BYTES // TURNS)
    messages = [
        {"role": "assistant" if turn % 2 else "user", "content": text} for turn in range(turns - 1)
    ]
    messages.append({"role": "user", "content": text})
    return json.dumps({"model": "grok-3", "messages": messages}).encode()


def build_pictures(size: int) -> bytes:
    """A request with pictures of so much base64 together."""
    data = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * (size * 3 // 4 // PICTURES // 256)
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    parts: list[dict[str, Any]] = [{"type": "text", "text": "Compare them."}]
    parts += [{"type": "image_url", "image_url": {"url": url}}] * PICTURES
    return json.dumps(
        {"model": "grok-3", "messages": [{"role": "user", "content": parts}]}
    ).encode()


def ask(body: bytes, settings: Settings) -> None:
    """From the client's body to the question to Grok, uploads included."""
    lease = Lease(1, "a", "grok-3", {"sso": Secret("x")})
    numbers = itertools.count()
    exchange = Exchange(
        body,
        dialect=DIALECTS["openai_chat"],
        models=ModelTable(),
        settings=settings,
        new_id=lambda: str(next(numbers)),
        created=1,
    )
    answer: Iterator[e.Event] = iter(())
    command = exchange.handle(e.Start(), 0.0)
    while True:
        event: e.Event = e.Completed()
        match command:
            case c.AcquireCredential():
                event = e.CredentialAcquired(lease)
            case c.SendRequest(request):
                if request.url.endswith("/conversations/new"):
                    exchange.abandon(0.0)
                    return
                event = e.ResponseReceived(200)
                answer = iter((e.DataReceived(b'{"fileMetadataId":"1"}'), e.EndOfMessage()))
            case c.ReceiveData():
                event = next(answer)
            case c.CloseRequest():
                pass
            case _:
                raise AssertionError(command)
        command = exchange.handle(event, 0.0)


Work = tuple[str, bytes, Callable[[bytes], None]]


def works() -> list[tuple[Work, Work]]:
    """Each at its size, and at twice that."""
    send = Settings(long_input=LongInput.SEND)

    def both(
        name: str, build: Callable[[int], bytes], size: int, work: Callable[[bytes], None]
    ) -> tuple[Work, Work]:
        return (name, build(size), work), (name, build(2 * size), work)

    return [
        both("line: a token", partial(build_line, "token"), LINE_BYTES, read_line),
        both("line: final message", partial(build_line, "modelResponse"), LINE_BYTES, read_line),
        both("line: unknown", partial(build_line, "other"), LINE_BYTES, read_line),
        both("line: odd, of <", partial(build_odd_line, "<"), LINE_BYTES, read_line),
        both("line: odd, of escapes", partial(build_odd_line, r"\n"), LINE_BYTES, read_line),
        both("line: odd, of cards", partial(build_odd_line, CARD), LINE_BYTES, read_line),
        both("line: odd, four stops", partial(build_odd_line, "ab"), LINE_BYTES, look_for_stops),
        both("history, sent", build_history, TURNS, lambda body: ask(body, send)),
        both("history, as a file", build_history, TURNS, lambda body: ask(body, Settings())),
        both("pictures", build_pictures, PICTURES_BYTES, lambda body: ask(body, Settings())),
    ]


def main() -> None:
    """Measure and print."""
    print(f"{tell_versions('msgspec')}; median of {ROUNDS} rounds\n")
    print(f"{'work':26}{'MB':>7}{'ms':>9}{'spread':>9}{'of json.loads':>15}{'twice as large':>16}")
    for (name, data, work), (_, double, _) in works():
        timings = measure(
            {
                "floor": partial(json.loads, data),
                "work": partial(work, data),
                "double": partial(work, double),
            },
            ROUNDS,
        )
        cut.cache_clear()
        once = timings["work"]
        print(
            f"{name:26}{len(data) / 1e6:7.2f}{once.median * 1e3:9.2f}{once.spread:9.0%}"
            f"{once.median / timings['floor'].median:13.2f} x"
            f"{timings['double'].median / once.median:14.2f} x"
        )


if __name__ == "__main__":
    main()

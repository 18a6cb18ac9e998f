"""Writes the seed corpora, which are small and reach most of the code: `-m tests.fuzz.seeds`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.fixtures.load import STREAM_EXPECTATIONS, read_stream
from tests.properties.test_connection_cuts import LAST, SPOILERS, WHOLE
from tests.properties.test_request_bodies import WHOLE as BODY

from .__main__ import CORPUS
from .targets import KNOBS

_LONGEST = 1500
_REQUEST = {"model": "grok-3", "messages": [{"role": "user", "content": "x"}]}
_PLAIN = b"\x01" + bytes(KNOBS - 1)
_CUT = b"\x00\x07\x2a\x2a"


def build_seeds() -> dict[str, dict[str, bytes]]:
    """Inputs by target and name."""
    reader = {}
    for name in sorted(STREAM_EXPECTATIONS):
        stream = read_stream(name)
        if len(stream) <= _LONGEST:
            reader[name.partition(".")[0]] = _CUT + stream
    request = {}
    for index, knobs in enumerate((bytes(KNOBS), _PLAIN)):
        request[f"whole-{index}"] = knobs + json.dumps(BODY).encode()
        request[f"plain-{index}"] = knobs + json.dumps({**_REQUEST, "prompt": "x"}).encode()
        for name, value in BODY.items():
            fields = {
                "model": "grok-3",
                "messages": [{"role": "user", "content": "x"}],
                name: value,
            }
            request[f"{name}-{index}"] = knobs + json.dumps(fields).encode()
    connection = {f"request-{n}": _CUT + data for n, data in enumerate(WHOLE)}
    connection.update({f"last-{n}": _CUT + data for n, data in enumerate(LAST) if data})
    connection["pipelined"] = _CUT + b"".join(WHOLE)
    for n, spoiler in enumerate(SPOILERS):
        connection[f"spoiled-{n}"] = _CUT + WHOLE[2][:20] + spoiler + WHOLE[2][20:]
    return {"reader": reader, "request": request, "connection": connection}


def write(directory: Path) -> None:
    """Write all of them anew."""
    for target, seeds in build_seeds().items():
        shutil.rmtree(directory / target, ignore_errors=True)
        (directory / target).mkdir(parents=True)
        for name, data in seeds.items():
            (directory / target / name).write_bytes(data)


if __name__ == "__main__":
    write(CORPUS)

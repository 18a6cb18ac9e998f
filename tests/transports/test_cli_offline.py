"""`grokproto parse` and `grokproto convert`, as a person runs them."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from grokproto.answer import AnswerEvent, Text
from tests.fixtures.load import STREAM_EXPECTATIONS, read_body, read_stream
from tests.playbook import chat_body
from transports.cli import cli
from transports.commands.saved_stream import check_cuts, read_events

STREAMS = Path(__file__).parents[1] / "fixtures/streams"
PLAIN = str(STREAMS / "plain.ndjson")


def invoke(*arguments: str, data: bytes = b"", code: int = 0, **environment: str) -> Result:
    """Run the command line in this process."""
    result = CliRunner().invoke(cli, arguments, input=data, env=environment)
    assert result.exit_code == code, result.output
    return result


def lines(result: Result) -> list[dict[str, object]]:
    """What was printed, an object a line."""
    return [json.loads(line) for line in result.stdout.split("\n") if line]


# parse


@pytest.mark.parametrize("name", sorted(STREAM_EXPECTATIONS))
def test_events(name: str) -> None:
    expected = STREAM_EXPECTATIONS[name]
    result = CliRunner().invoke(cli, ["parse", str(STREAMS / name)])
    events = lines(result)
    text = "".join(str(event["text"]) for event in events if event["event"] == "Text")
    assert text == expected["content"]
    assert events[-1]["event"] in ("Ended", "Failed")
    whole = events[-1]["event"] == "Ended"
    assert result.exit_code == (0 if whole else 1)
    assert ("Whole." if whole else "Not whole (") in result.stderr


def test_chunks() -> None:
    chunks = lines(invoke("parse", "-", "--as", "chunks", data=read_stream("plain.ndjson")))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[-1]["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]


def test_text() -> None:
    name = "reasoning.ndjson"
    shown = invoke("parse", str(STREAMS / name), "--as", "text").stdout
    assert shown.startswith("<think>")
    hidden = invoke("parse", str(STREAMS / name), "--as", "text", "--thinking", "hidden").stdout
    assert hidden == STREAM_EXPECTATIONS[name]["content"] + "\n"


def test_what_is_unknown_or_garbage_is_told() -> None:
    data = read_stream("unknown_kinds.ndjson") + b"garbage\n"
    told = invoke("parse", "-", data=data, code=1).stderr
    assert "Unknown here: holoDeck, 2 times: {on: boolean}" in told
    assert "1 pieces could not be made sense of." in told


def test_refusal() -> None:
    result = invoke("parse", "-", "--status", "403", data=read_body("challenge.html"), code=1)
    assert "cloudflare" in result.stderr


def test_compressed_file_is_told() -> None:
    told = invoke("parse", "-", data=gzip.compress(read_stream("plain.ndjson")), code=2).stderr
    assert told == "grokproto: this is gzip; undo that first (curl --compressed)\n"


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-16-be with a mark"])
def test_file_in_utf_16_is_told(coding: str) -> None:
    name, mark, _ = coding.partition(" with")
    text = ("\ufeff" if mark else "") + read_stream("plain.ndjson").decode()
    told = invoke("parse", "-", data=text.encode(name), code=2).stderr
    assert told == (
        "grokproto: this is UTF-16, which PowerShell's > writes; save it as it comes "
        "(curl --output FILE)\n"
    )


def test_byte_order_mark_is_passed_over() -> None:
    """Once, and where the first frame has text."""
    data = read_stream("no_end_mark.ndjson")
    marked = invoke("parse", "-", data=b"\xef\xbb\xbf" + data, code=1)
    plain = invoke("parse", "-", data=data, code=1)
    assert (marked.stdout, marked.stderr) == (plain.stdout, plain.stderr)
    told = invoke("parse", "-", data=b"\xef\xbb\xbf" * 2 + data, code=1).stderr
    assert "1 pieces could not be made sense of." in told


@pytest.mark.parametrize("status", ["-1", "0", "99", "600", "999999", "many"])
def test_status_that_is_none(status: str) -> None:
    assert "'--status'" in invoke("parse", PLAIN, f"--status={status}", code=2).stderr


def test_check() -> None:
    told = invoke("parse", PLAIN, "--check", "--seed", "7").stderr
    assert "Cut in single bytes: 1 readings: the same" in told
    assert "Cut at random places (seed 7): 200 readings: the same" in told
    size = len(read_stream("plain.ndjson"))
    assert f"Cut in two, at every position: {size - 1} readings: the same" in told


class Clock:
    """A clock that goes on by so much each time one looks."""

    def __init__(self, step: float) -> None:
        self._times = itertools.count(0.0, step)

    def __call__(self) -> float:
        return next(self._times)


def test_check_of_a_long_answer_cuts_all_lines_at_once() -> None:
    data = read_stream("plain.ndjson") + b'{"result":{"novelty":"' + b"x" * 5000 + b'"}}\n'
    seen: set[int] = set()

    def read(pieces: Sequence[bytes]) -> list[AnswerEvent]:
        seen.update(itertools.accumulate(map(len, pieces)))
        return []

    *_, lines_cut = check_cuts(data, seed=1, seconds=5000, read=read, clock=Clock(1))
    assert "each line" in lines_cut.way
    assert lines_cut.readings == 4096
    assert lines_cut.complete
    assert seen >= set(range(1, len(read_stream("plain.ndjson")) + 4096))


def test_check_ends_when_time_is_up() -> None:
    cuttings = list(check_cuts(read_stream("plain.ndjson"), seed=1, seconds=2.5, clock=Clock(1.0)))
    assert [cutting.complete for cutting in cuttings] == [True, False, False]
    assert all(0 < cutting.readings < 5 for cutting in cuttings)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (lambda pieces: len(pieces) == 2 and len(pieces[0]) == 33, "cut after byte 33"),
        (lambda pieces: len(pieces) > 1000, "pieces"),
    ],
)
def test_check_tells_what_is_different(wrong: object, expected: str) -> None:
    assert callable(wrong)

    def read(pieces: Sequence[bytes]) -> list[AnswerEvent]:
        events = read_events(pieces)
        return [*events[:3], Text("!")] if wrong(pieces) else events

    cuttings = list(check_cuts(read_stream("plain.ndjson"), seed=1, seconds=60, read=read))
    (found,) = [cutting.difference for cutting in cuttings if cutting.difference is not None][:1]
    assert found.startswith("event 3 is {")
    assert found.endswith(expected)
    assert '"text":"!"' in found


def test_events_that_are_missing_are_told() -> None:
    def read(pieces: Sequence[bytes]) -> list[AnswerEvent]:
        return read_events(pieces)[: -len(pieces)]

    first, *_ = check_cuts(read_stream("plain.ndjson"), seed=1, seconds=60, read=read)
    assert first.difference is not None
    assert "missing in" in first.difference


# convert


def test_convert() -> None:
    body = chat_body(reasoning_effort="high", temperature=0.2, n=2)
    result = invoke("convert", "-", data=body)
    payload = json.loads(result.stdout)
    assert (payload["message"], payload["isReasoning"]) == ("USER: hi", True)
    assert "grok-3 is asked as grok-3-reasoning." in result.stderr
    assert "2 times" in result.stderr
    assert "Ignored: temperature." in result.stderr


def test_convert_with_files() -> None:
    file = {"file_data": "aGVsbG8=", "filename": "notes.txt"}
    picture = {"url": "data:image/png;base64,iVBORw0KGgo="}
    parts = [
        {"type": "text", "text": "look"},
        {"type": "file", "file": file},
        {"type": "image_url", "image_url": picture},
    ]
    body = json.dumps({"model": "grok-3", "messages": [{"role": "user", "content": parts}]})
    result = invoke("convert", "-", data=body.encode())
    assert json.loads(result.stdout)["fileAttachments"] == ["id of file 1", "id of file 2"]
    assert "File 1 is notes.txt" in result.stderr
    assert "File 2 is a picture" in result.stderr


def test_convert_follows_the_configuration() -> None:
    result = invoke(
        "convert",
        "-",
        data=chat_body(),
        IS_TEMP_CONVERSATION="true",
        LONG_INPUT_CHARS="3",
    )
    assert json.loads(result.stdout)["temporary"] is True
    assert "has 8 characters" in result.stderr


def test_convert_for_pictures() -> None:
    body = b'{"prompt":"a heron","n":3}'
    result = invoke("convert", "-", "--dialect", "openai_images", data=body)
    assert json.loads(result.stdout)["imageGenerationCount"] == 3


def test_convert_what_is_wrong() -> None:
    result = invoke("convert", "-", data=b'{"model":"grok-3","messages":7}', code=1)
    assert "400: messages must be" in result.stderr
    assert "(param messages)" in result.stderr
    assert invoke("convert", "-", data=b"[]", code=1).stderr.startswith("grokproto: 400: ")

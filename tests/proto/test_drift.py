"""Names in Grok's frames that nobody here knows: they are counted, and shown without a value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from grokproto import AnswerReader
from grokproto.answer import Unknown, add_up
from grokproto.settings import Settings
from tests.fixtures.load import read_stream
from tests.playbook import FakeHost, Response, answered, chat_body, make_exchange


def line(wrapped: bool = True, **fields: Any) -> bytes:
    """A frame."""
    frame = {"result": {"response": fields}} if wrapped else fields
    return json.dumps(frame).encode() + b"\n"


def look(*lines: bytes) -> dict[str, Unknown]:
    """What is seen in an answer, by name."""
    reader = AnswerReader()
    for each in lines:
        reader.receive_data(each)
    assert {each.name: each.times for each in reader.unknown} == reader.unknown_kinds
    return {each.name: each for each in reader.unknown}


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (None, "null"),
        (True, "boolean"),
        (7, "number"),
        (0.5, "number"),
        ("Ulrike", "string"),
        ([], "[]"),
        ([["Ulrike"]], "[[string]]"),
        ({"on": True, "layers": [{"depth": 3}]}, "{on: boolean, layers: [{depth: number}]}"),
        ({"a": {"b": {"c": {"d": 1}}}}, "{a: {b: {c: {}}}}"),
        ([[[[1]]]], "[[[[]]]]"),
        ({"550e8400-e29b": 1, "Ulrike Ü": 2, "a1b2c3d4": 3}, "{?: number, ?: number, ?: number}"),
        (
            {f"k{number}": number for number in range(9)},
            "{" + "".join(f"k{number}: number, " for number in range(8)) + "…}",
        ),
        ({"x" * 40: {"y" * 40: {"z" * 40: 1, "w" * 40: 1}}}, None),
        ("x" * 100_000, "100002 bytes"),
    ],
)
def test_shape_has_no_value_in_it(value: Any, shape: str | None) -> None:
    seen = look(line(holoDeck=value))["holoDeck"]
    if shape is not None:
        assert seen.shape == shape
    assert len(seen.shape) <= 160
    assert "Ulrike" not in seen.shape


def test_name_that_looks_like_data_is_not_shown() -> None:
    seen = look(line(**{"550e8400-e29b-41d4": 1, "Ulrike was here": 2, "a" * 60: 3}))
    assert seen == {"?": Unknown("?", 3, "number")}


def test_names_of_every_wrapping_are_seen() -> None:
    frame = {"a": 1, "result": {"b": 1, "response": {"c": 1, "token": "x", "result": {"d": 1}}}}
    assert set(look(json.dumps(frame).encode() + b"\n")) == {"a", "b", "c"}


@pytest.mark.parametrize(
    "frame",
    [
        {"result": {"response": {"novelty": "x" * 70_000}}},
        {"result": {"novelty": "x" * 70_000}},
        {"novelty": "x" * 70_000},
    ],
    ids=["wrapped twice", "once", "bare"],
)
def test_large_frames_are_seen_however_they_are_wrapped(frame: Any) -> None:
    seen = look(json.dumps(frame).encode() + b"\n")
    assert seen == {"novelty": Unknown("novelty", 1, "70002 bytes")}


def test_new_field_of_tokens_is_seen_at_once() -> None:
    seen = look(*(line(token=f"word {number}", novelty=number) for number in range(100)))
    assert seen["novelty"].shape == "number"
    assert seen["novelty"].times < 10


def test_new_field_beside_something_known_is_seen() -> None:
    search = {"results": [{"url": "https://a.example"}]}
    seen = look(*(line(webSearchResults=search, novelty="x") for _ in range(100)))
    assert seen["novelty"] == Unknown("novelty", 8, "string")


def test_nothing_is_seen_where_all_is_known() -> None:
    assert look(read_stream("search.ndjson"), read_stream("reasoning.ndjson")) == {}


@pytest.mark.parametrize(
    "data",
    [
        b'{"result":{"response":7,"novelty":1}}\n',
        b'{"result":{"response":{"novelty":' + b"[" * 5000 + b"]" * 5000 + b"}}}\n",
        b'{"result":{"response":{"novelty":"caf\xe9"}}}\n',
        b'{"result":{"novelty\xff":1}}\n',
        b'{"result":null,"response":null,"novelty":1}\n',
    ],
)
def test_odd_frames(data: bytes) -> None:
    for seen in look(data).values():
        assert (seen.name, seen.times) == ("novelty", 1)


def test_adding_up() -> None:
    unknown = [Unknown("a", 1, "number"), Unknown("b", 2, "null"), Unknown("a", 3, "string")]
    assert add_up(unknown) == (Unknown("a", 4, "number"), Unknown("b", 2, "null"))
    assert add_up([]) == ()


# What the host hears of it


def test_summary_of_one_answer() -> None:
    summary = FakeHost(lambda _: answered("unknown_kinds.ndjson")).run(make_exchange())
    assert {each.name: each.times for each in summary.unknown} == {
        "holoDeck": 2,
        "weather": 1,
        "novelty": 1,
    }


def test_summary_of_several_attempts() -> None:
    data = [read_stream("plain.ndjson"), line(novelty=1) + b'{"error":{"code":8}}\n']
    host = FakeHost(lambda _: Response(pieces=[data.pop()]))
    summary = host.run(make_exchange())
    assert summary.attempts == 2
    assert summary.unknown == (Unknown("novelty", 1, "number"),)


def test_summary_of_several_answers() -> None:
    host = FakeHost(lambda _: answered("unknown_kinds.ndjson"))
    summary = host.run(make_exchange(chat_body(n=3)))
    assert {each.name: each.times for each in summary.unknown}["holoDeck"] == 6


def test_summary_where_nothing_was_asked() -> None:
    host = FakeHost(lambda _: answered("plain.ndjson"), leases=[])
    assert host.run(make_exchange()).unknown == ()
    wrong = make_exchange(b"{}", settings=Settings())
    assert FakeHost(lambda _: answered("plain.ndjson")).run(wrong).unknown == ()

"""`grokproto.grok.reader`, and with it `frames`, `search` and `pictures`."""

from __future__ import annotations

import json
import math
import sys
import tracemalloc

import msgspec
import pytest

from grokproto import answer
from grokproto.failures import FailureKind
from grokproto.grok import frame_reader
from grokproto.grok.drift import MAX_UNKNOWN
from grokproto.grok.frames import decode_payload
from grokproto.grok.reader import NEED_DATA, AnswerReader
from tests.fixtures import build
from tests.fixtures.load import STREAM_EXPECTATIONS, read_stream
from tests.proto.reading import describe, drain, read
from tests.strategies import single_bytes

NAMES = sorted(STREAM_EXPECTATIONS)


@pytest.mark.parametrize("name", NAMES)
def test_fixture(name: str) -> None:
    assert describe(read([read_stream(name)])) == STREAM_EXPECTATIONS[name]


@pytest.mark.parametrize("name", NAMES)
def test_fixture_in_single_bytes(name: str) -> None:
    data = read_stream(name)
    assert read(single_bytes(data)) == read([data])


@pytest.mark.parametrize("name", NAMES)
def test_fixture_cut_once_anywhere(name: str) -> None:
    data = read_stream(name)
    whole = read([data])
    for place in range(1, len(data), 7):
        assert read([data[:place], data[place:]]) == whole


def test_fixtures_are_as_built() -> None:
    for name, (data, expected) in build.STREAM_FILES.items():
        assert read_stream(name) == data
        assert STREAM_EXPECTATIONS[name] == json.loads(json.dumps(expected))


def test_object_is_given_out_at_its_closing_brace() -> None:
    reader = AnswerReader()
    data = read_stream("joined.ndjson")
    first = data.index(b'"Brace {"')
    end = data.index(b"}}}", first) + 3
    reader.receive_data(data[: end - 1])
    assert drain(reader) == []
    reader.receive_data(data[end - 1 : end])
    assert drain(reader) == [answer.Text("Brace {")]


def test_object_before_a_begun_one_is_given_out() -> None:
    reader = AnswerReader()
    reader.receive_data(b'{"result":{"token":"a"}}{"result":{"to')
    assert drain(reader) == [answer.Text("a")]


def test_nothing_follows_the_end() -> None:
    reader = AnswerReader()
    reader.receive_data(read_stream("plain.ndjson"))
    reader.receive_eof()
    assert drain(reader)[-1] == answer.Ended()
    reader.receive_eof()
    reader.receive_data(read_stream("plain.ndjson"))
    assert reader.next_event() is NEED_DATA
    assert repr(NEED_DATA) == "NEED_DATA"


def test_end_is_seen_before_it_comes() -> None:
    for name in ("plain.ndjson", "sse.txt", "image_final_only.ndjson"):
        reader = AnswerReader()
        assert not reader.end_seen
        reader.receive_data(read_stream(name))
        assert reader.end_seen


def test_end_by_close_without_an_end_mark_is_truncated() -> None:
    events = read([read_stream("no_end_mark.ndjson")], framed=False)
    assert describe(events)["error_kind"] == "truncated"
    assert describe(events)["content"] == "Whole lines."
    assert "without its end mark" in events[-1].failure.message  # type: ignore[union-attr]


def test_end_by_close_with_an_end_mark_is_whole() -> None:
    assert read([read_stream("plain.ndjson")], framed=False)[-1] == answer.Ended()


def test_error_as_the_last_object_without_newline() -> None:
    data = b'{"result":{"token":"a"}}\n{"error":{"code":8}} '
    assert describe(read([data]))["error_kind"] == "rate_limited"


def test_nothing_is_read_behind_an_error() -> None:
    data = b'{"error":{"code":8}}\n{"result":{"token":"caf\xe9"}}\n{"result":{"token":"x"}}\n'
    assert [type(e) for e in read([data])] == [answer.Failed]
    assert len(read([data + b"x" * 500], max_line_bytes=100)) == 1


def test_unknown_kinds_are_counted() -> None:
    reader = AnswerReader()
    reader.receive_data(read_stream("unknown_kinds.ndjson"))
    assert reader.unknown_kinds == {"holoDeck": 2, "weather": 1, "novelty": 1}
    assert reader.skipped == 0


def test_unknown_kinds_are_bounded() -> None:
    reader = AnswerReader()
    for number in range(2 * MAX_UNKNOWN):
        reader.receive_data(b'{"result":{"kind%d":1}}\n' % number)
    reader.receive_data(b'{"result":{"%b":1}}\n' % (b"x" * 5000))
    assert len(reader.unknown_kinds) == MAX_UNKNOWN
    assert max(map(len, reader.unknown_kinds)) < 100


def test_unknown_kind_in_damaged_text_is_not_named() -> None:
    reader = AnswerReader()
    reader.receive_data(b'{"result":{"kind\xff":1}}\n')
    assert reader.unknown_kinds == {}


def test_known_kinds_are_not_counted() -> None:
    for name in ("plain.ndjson", "deepsearch.ndjson", "image_cached.ndjson", "upload.ndjson"):
        reader = AnswerReader()
        reader.receive_data(read_stream(name))
        assert reader.unknown_kinds == {}


def test_citation_of_nothing_is_none() -> None:
    card = rb'{"result":{"cardAttachment":{"jsonData":"{\"cardType\":\"citation_card\"}"}}}'
    assert [type(event) for event in read([card])] == [answer.Failed]


def test_garbage_is_counted() -> None:
    reader = AnswerReader()
    reader.receive_data(read_stream("garbage_between.ndjson"))
    assert reader.skipped == 9


def test_comments_of_sse_are_no_garbage() -> None:
    reader = AnswerReader()
    reader.receive_data(read_stream("sse.txt"))
    assert reader.skipped == 0


def test_line_in_tiny_reads_costs_little_more_than_its_size() -> None:
    reader = AnswerReader()
    line = b'{"result":{"response":{"token":"' + b"x" * 50_000 + b"{}" + b"y" * 50_000
    tracemalloc.start()
    try:
        for start in range(0, len(line), 2):
            reader.receive_data(line[start : start + 2])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1.5 * len(line)


def test_surrogates_are_told_from_what_looks_like_them() -> None:
    token = r"a\\ud800 \\\ud800 \ud83d\ude42 \ud83d\ud83d\ude42\ude42 \udc00\ud800\n\u0041\\"
    assert read([f'{{"result":{{"token":"{token}"}}}}\n'.encode()], framed=True)[0] == answer.Text(
        "a\\ud800 \\\ufffd \U0001f642 \ufffd\U0001f642\ufffd \ufffd\ufffd\nA\\"
    )
    assert read([b'{"result":{"token":"a\0\\ud800"}}\n{"result":{"token":"b"}}\n'])[
        0
    ] == answer.Text("b")


def test_line_feed_in_a_token_beside_escapes() -> None:
    """It spoils its lines, and no others, however they are read."""
    line = b'{"token":"a\\n"}\n'
    data = line * 3 + b'{"token":"b\nc"}\n' + line * 3
    whole = read([data], framed=True)
    assert whole == read([data[i : i + 1] for i in range(len(data))], framed=True)
    assert "".join(e.text for e in whole if isinstance(e, answer.Text)) == "a\n" * 6


def test_objects_that_are_nested_too_deeply_spoil_their_line() -> None:
    deep = b'{"a":' * 1025 + b"1" + b"}" * 1025
    less = b'{"a":' * 1024 + b"1" + b"}" * 1024
    tokens = b'{"result":{"token":"same"}}\n{"result":{"token":"next"}}\n'
    assert read([deep + tokens])[0] == answer.Text("next")
    assert read([less + tokens])[0] == answer.Text("same")


@pytest.mark.parametrize(
    "name",
    [
        *("modelResponse", "webSearchResults", "xSearchResults", "cardAttachment", "novelty"),
        *("cachedImageGenerationResponse", "streamingImageGenerationResponse"),
    ],
)
def test_payloads_that_are_nested_almost_too_deeply(name: str) -> None:
    """A frame may just be passed over, and what is in it be too deep for whoever looks into it."""
    limit = sys.getrecursionlimit()
    for depth in range(limit - 150, limit + 50):
        payload = b"[" * depth + b"]" * depth
        data = b'{"token":"hi"}\n{"' + name.encode() + b'":' + payload + b"}\n"
        assert read([data], framed=True)[0] == answer.Text("hi")


def test_line_of_many_megabytes_in_small_reads() -> None:
    text = "A" * 5_000_000 + '\\" {}'
    data = b'{"result":{"token":"' + text.encode() + b'"}}\n'
    pieces = [data[i : i + 1024] for i in range(0, len(data), 1024)]
    events = read(pieces)
    assert events == [answer.Text("A" * 5_000_000 + '" {}'), answer.Ended()]


@pytest.mark.parametrize("tail", [b"", b"\n", b"}" * 50, b'"}}' + b"x" * 200])
def test_line_too_long(tail: bytes) -> None:
    data = b'{"result":{"token":"ok"}}\n{"result":{"token":"' + b"y" * 200 + tail
    whole = read([data], max_line_bytes=100)
    assert whole[0] == answer.Text("ok")
    assert isinstance(whole[1], answer.Failed)
    assert "line of more than" in whole[1].failure.message
    assert read(single_bytes(data), max_line_bytes=100) == whole


def test_line_that_ends_too_late_hides_what_is_behind_it() -> None:
    pieces = [b'{"a":{},"b":"', b"y" * 200 + b'"}\n{"result":{"token":"ok"}}\n']
    whole = read(pieces, max_line_bytes=100)
    assert [type(e) for e in whole] == [answer.Failed]
    assert read(single_bytes(b"".join(pieces)), max_line_bytes=100) == whole


def test_objects_on_a_long_line_come_out_before_it_is_too_long() -> None:
    one = b'{"result":{"token":"a"}}'
    data = one * 20 + b" " * 200 + one
    whole = read([data], max_line_bytes=100)
    assert [e for e in whole if isinstance(e, answer.Text)] == [answer.Text("a")] * 20
    assert isinstance(whole[-1], answer.Failed)
    assert read(single_bytes(data), max_line_bytes=100) == whole


def test_sse_prefix_does_not_count() -> None:
    one = b'{"result":{"token":"aaaa"}}'
    for data in (b"data:" + one + b"\n", b"data:" + one, b"data:" + one + b" \n"):
        whole = read([data], max_line_bytes=len(one) + 1)
        assert whole == [answer.Text("aaaa"), answer.Ended()]
        assert read(single_bytes(data), max_line_bytes=len(one) + 1) == whole


def test_object_too_long_that_ends_in_the_same_read() -> None:
    data = b'  {"result":{"token":"aaaaaaaaaa"}}{"result":{"token":"b"}}\n'
    whole = read([data], max_line_bytes=30)
    assert [type(e) for e in whole] == [answer.Failed]
    assert read(single_bytes(data), max_line_bytes=30) == whole


def test_deep_nesting_is_passed_over() -> None:
    deep = b'{"error":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
    events = read([deep + read_stream("plain.ndjson")])
    assert describe(events) == STREAM_EXPECTATIONS["plain.ndjson"]


def test_results_are_bounded() -> None:
    many = [build.page(f"https://example.com/{n}", "") for n in range(3000)]
    events = read([build.lines(build.pages(*many), build.token("x"))])
    assert len(describe(events)["search_results"]) == frame_reader.MAX_RESULTS  # type: ignore[arg-type]


def test_marks_of_citations_stand_where_grok_cites() -> None:
    mark = "<grok:render card_id='c1' card_type='citation_card'><argument/></grok:render>"
    other = mark.replace("c1", "c2").replace("'", '"')
    picture = "<grok:render card_id='c3' card_type='image_card'/>"
    for text in (f"{mark}ab{mark}{other}cd{picture}e", f"👋{mark}"):
        whole = read([build.lines(build.token(text))])
        single = read([build.lines(*(build.token(character) for character in text))])
        assert merge(whole) == merge(single)
        assert answer.Cited("c1") in whole
        assert answer.Cited("c3") not in whole
    tail = build.lines(build.token("ab"), build.message(f"ab{mark}"))
    assert read([tail])[:2] == [answer.Text("ab"), answer.Cited("c1")]


def merge(events: list[answer.AnswerEvent]) -> list[str]:
    """The events with neighbouring texts joined."""
    merged: list[str] = []
    joins = False
    for event in events:
        if isinstance(event, answer.Text):
            if joins:
                merged[-1] += event.text
            else:
                merged.append(event.text)
            joins = True
        else:
            joins = False
            merged.append(repr(event))
    return merged


def test_long_tags_are_read_only_so_far() -> None:
    far = f"<grok:render x='{'y' * 600}' card_id='c1' card_type='citation_card'/>"
    events = read([build.lines(build.token(f"a{far}b"))])
    assert answer.Cited("c1") not in events
    slash = "<grok:render card_type='citation_card' card_id='a/"
    assert answer.Cited("a/b") in read([build.lines(build.token(slash), build.token("b'/>c"))])


def test_citations_are_bounded() -> None:
    cards = [build.card(cardType="citation_card", url=f"https://e.com/{n}") for n in range(2100)]
    events = read([build.lines(*cards, build.token("x"))])
    assert len(describe(events)["citations"]) == frame_reader.MAX_RESULTS  # type: ignore[arg-type]


def test_cards_without_an_address_and_cards_that_come_again() -> None:
    cited = build.card(cardType="citation_card", url="https://e.com/1", id="1")
    odd = [build.card(cardType="citation_card", **more) for more in ({}, {"url": ""}, {"url": 7})]
    events = read([build.lines(*odd, cited, cited, build.token("x"))])
    assert [e for e in events if isinstance(e, answer.Citation)] == [
        answer.Citation("https://e.com/1", "1")
    ]


def test_damage_in_a_payload_costs_no_more_than_its_spot() -> None:
    frame = (
        b'{"result":{"webSearchResults":{"results":[{"url":"https://e.com","title":"a\xffb"}]}}}'
    )
    (found, *_) = read([frame + b"\n"])
    assert found == answer.SearchResults(
        answer.SearchSource.WEB, (answer.SearchResult("a\ufffdb", "https://e.com"),)
    )


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5000, "1" + "0" * 400 + ".5"])
def test_number_out_of_range_costs_no_payload(number: str) -> None:
    search = f'{{"results":[{{"url":"https://e.com","title":"t","views":{number}}}],"n":{number}}}'
    drawn = f'{{"imageUrl":"users/a/1/image.jpg","progress":100,"seed":{number}}}'
    cached = f'{{"imageUrl":"users/a/2/image.jpg","seed":{number}}}'
    card = f'{{"jsonData":"{{}}","seed":{number}}}'
    final = f'{{"message":"whole","responseId":"r","seed":{number}}}'
    lines = [
        f'{{"result":{{"response":{{"{name}":{payload}}}}}}}\n'.encode()
        for name, payload in (
            ("webSearchResults", search),
            ("streamingImageGenerationResponse", drawn),
            ("cachedImageGenerationResponse", cached),
            ("cardAttachment", card),
            ("modelResponse", final),
        )
    ]
    plain = [line.replace(number.encode(), b"1") for line in lines]
    assert read(lines) == read(plain)
    assert read(lines)[-2:] == [answer.Text("whole"), answer.Ended()]


def test_payload_that_nobody_can_decode_is_none() -> None:
    assert decode_payload(msgspec.Raw(b"no JSON")) is None
    assert decode_payload(msgspec.Raw(b"1" * 18 + b".0e400")) == math.inf
    assert decode_payload(msgspec.Raw(b"[1e999,123456789012345678]")) == [
        math.inf,
        123456789012345678,
    ]


def test_pictures_are_bounded() -> None:
    drawings = [build.drawing(build.picture(n), 100) for n in range(100)]
    assert len(describe(read([build.lines(*drawings)]))["images"]) == 64  # type: ignore[arg-type]


def test_repair_is_given_up_for_very_long_answers() -> None:
    text = "z" * (frame_reader.MAX_REPAIR - 1)
    frames = [build.token(text), build.token("yy"), build.token("z"), build.message(text + "yyz!")]
    pieces = [build.lines(*frames[:2]), build.lines(*frames[2:])]
    assert describe(read(pieces))["content"] == text + "yyz"


def test_more_than_one_other_answer_is_bounded() -> None:
    others = [build.token("no", sideBySideIndex=1, responseId=f"other-{n}") for n in range(40)]
    frames = [*others, build.token("no", sideBySideIndex=2, responseId=7), build.token("yes")]
    assert describe(read([build.lines(*frames)]))["content"] == "yes"


def test_result_and_error_on_one_line_is_an_error() -> None:
    events = read([b'{"result":{"token":"a"},"error":{"code":13,"message":"b"}}\n'])
    assert [type(e) for e in events] == [answer.Failed]
    assert events[0].failure.kind is FailureKind.UPSTREAM  # type: ignore[union-attr]

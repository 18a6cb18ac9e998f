"""Whatever is shown of a stream, and however: cuts do not matter, and its end is a known one."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from grokproto import answer
from grokproto.failures import FailureKind
from grokproto.filters import build_filters, run_filters
from grokproto.settings import SearchFormat, ThinkingFormat
from tests.playbook import FakeHost, chat_body
from tests.properties.test_exchange_rules import endings, run
from tests.proto.reading import read
from tests.strategies import cut, damaged_streams

CODES = {kind.value for kind in FailureKind}
REASONS = {"stop", "length", "content_filter"}
formats = st.lists(st.sampled_from(SearchFormat), unique=True).map(
    lambda chosen: ",".join(each.value for each in chosen) or "none"
)
fields = st.fixed_dictionaries(
    {"thinking_format": st.sampled_from([each.value for each in ThinkingFormat])},
    optional={
        "search_results": formats,
        "stop": st.lists(st.sampled_from(["e", "the", "\n", "[[", "https"]), max_size=4),
        "max_tokens": st.integers(1, 30),
        "stream_options": st.just({"include_usage": True}),
    },
)


@given(damaged_streams(), endings, fields, st.booleans(), st.data())
def test_what_the_client_gets(
    stream: bytes, ending: Any, wanted: dict[str, Any], streamed: bool, data: st.DataObject
) -> None:
    pieces = cut(stream, data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    if not streamed:
        wanted = {key: value for key, value in wanted.items() if key != "stream_options"}
    body = chat_body(stream=streamed, **wanted)
    whole = run(body, [stream] if stream else [], ending)
    parts = run(body, pieces, ending)
    assert (parts.status, parts.body) == (whole.status, whole.body)
    hold(whole)


def hold(host: FakeHost) -> None:
    """An answer with one of the known ends."""
    if host.status != 200:
        assert host.json["error"]["code"] in CODES
        return
    if "event-stream" not in host.headers["content-type"]:
        (choice,) = host.json["choices"]
        assert choice["finish_reason"] in REASONS
        return
    events = host.chunks
    reasons = [e["choices"][0]["finish_reason"] for e in events if e and e.get("choices")]
    if events[-1] is None:
        assert reasons[-1] in REASONS
        assert set(reasons[:-1]) <= {None}
    else:
        assert events[-1]["error"]["code"] in CODES
        assert set(reasons) <= {None}


@given(damaged_streams(), st.sampled_from(ThinkingFormat), st.sets(st.sampled_from(SearchFormat)))
def test_filters_keep_order_and_end(
    stream: bytes, thinking: ThinkingFormat, search: set[SearchFormat]
) -> None:
    filters = build_filters(thinking, frozenset(search))
    events = read([stream])
    shown = [each for event in events for each in run_filters(filters, event)]
    assert shown[-1] == events[-1]
    assert not any(isinstance(each, answer.Ended | answer.Failed) for each in shown[:-1])
    if thinking is ThinkingFormat.HIDDEN:
        assert not any(isinstance(each, answer.Reasoning) for each in shown)
    for each in shown:
        if isinstance(each, answer.Text | answer.Reasoning):
            assert json.dumps(each.text).isascii()

"""Filler, names and JSON in place: what is taken out of a transcript, and what stays."""

from __future__ import annotations

import base64
import errno
import json
import os
import re
from typing import Any

import pytest

from grokproto.grok.refusals import read_refusal
from grokproto.media import sniff_media_type
from grokproto.transcript.filler import MAX_APART, Filler
from grokproto.transcript.json_text import find_strings, rewrite_strings
from grokproto.transcript.names import Names
from grokproto.transcript.redaction import Redaction
from grokproto.usage import estimate_tokens
from tests.fixtures.load import BODY_EXPECTATIONS, STREAM_EXPECTATIONS, read_body, read_stream

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))


def redact(body: dict[str, Any] | bytes, *models: str) -> Any:
    """A client's request, redacted and decoded; its length must stay."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    redacted = Redaction(data, models).request(data)
    assert len(redacted) == len(data)
    return json.loads(redacted) if isinstance(body, dict) else redacted


# Filler


def test_filler_is_of_the_same_kind_in_every_character() -> None:
    filler = Filler()
    for first in (*range(0, 0x10000, 64), *range(0x10000, 0x110000, 0x1000)):
        codes = [code for code in range(first, first + 64) if not 0xD800 <= code <= 0xDFFF]
        for character in map(chr, codes):
            filled = filler.fill(character)
            assert len(filled) == 1
            assert len(filled.encode()) == len(character.encode())
            assert filled.isspace() == character.isspace()
        text = "".join(map(chr, codes))
        assert estimate_tokens(filler.fill(text)) == estimate_tokens(text)


def test_filler_says_nothing() -> None:
    shown = Filler().fill("Meet Ulrike at 7, Straße 12! Привет, 你好 👋")
    assert shown == "Xxxx Xxxxxx xx 0, Xxxxéx 00! Жжжжжж, 中中 𐀀"


def test_no_letter_stays_that_is_dressed_up_as_a_symbol() -> None:
    for text in ("ℎ₤ℯ", "①②③", "ⓢⓔⓒ", "⒜⒝⒞", "⠎⠑⠉", "ˢᵉᶜ", "㋐㋑㋒", "²ⁿ₃", "Ⅷⅷ"):
        shown = Filler().fill(text)
        assert set(shown) & set(text) <= {"₤"}
        assert len(shown.encode()) == len(text.encode())
    assert Filler().fill("ⓈⒺⒸ ⅷⅧ") == "ℒℒℒ ℓℒ"
    assert Filler().fill("a\u200b\u200c\u200b") == "x\u2060\u2060\u2060"


def test_signs_stay() -> None:
    signs = "«» – … ‰ € → ≤ ∑ ☀ ★ ─ 、。「」"
    assert Filler().fill(signs) == signs


def test_letters_are_kept_apart_where_that_matters() -> None:
    filler = Filler("END 7.")
    assert filler.fill("END") == "ABC"
    assert filler.fill("AND 7 8") == "XBC 4 0"
    assert Filler("abcdefghijkl").fill("abc") == "xxx"
    assert len("abcdefghijkl") > MAX_APART


# Names


def test_names_stay_equal_and_different() -> None:
    names = Names()
    urls = [f"https://example.org/{word}" for word in ("nest", "tree", "bird", "nest")]
    renamed = [names.rename(url) for url in urls]
    assert renamed[0] == renamed[3]
    assert len(set(renamed)) == 3
    assert all(len(a) == len(b) for a, b in zip(urls, renamed, strict=True))
    assert all(url.startswith("https://xxxxxxx.xxx/") for url in renamed)


def test_address_is_the_same_in_every_spelling() -> None:
    names = Names()
    path = "users/1234/generated/77/image-part-0/x.jpg"
    short = names.rename(path)
    assert names.rename(f"/{path}") == f"/{short}"
    assert names.rename(f"https://assets.grok.com/{path}") == f"https://assets.grok.com/{short}"
    assert short.startswith("users/0")
    assert short.endswith(".jpg")
    assert "-part-0/" in short


def test_number_of_a_preview_says_nothing_else() -> None:
    assert "4917" not in Names().rename("users/1/image-part-4917012345/x.jpg")


def test_short_names_may_have_to_be_shared() -> None:
    names = Names()
    renamed = {names.rename(str(digit)) for digit in range(10)} | {names.rename("")}
    assert renamed <= {*map(str, range(10)), ""}
    capitals = {names.rename(f"{letter}{letter.lower()}") for letter in "ABCDEFG"}
    assert len(capitals) == 7


# JSON in place


@pytest.mark.parametrize(
    "text",
    [
        '{"a":"x\\"y","b":["p","q"]}',
        '{"a":"no end',
        '{"a":"no end\\',
        '{"a":"no\nend"}',
        '"\\u00e9\\ud83d\\ude00\\ud83d\\n\\u0041"',
        '{"a":{"b":"c"}}}}]]{"d":"e"}',
        'data: {"a":"b"}\ndata: [DONE]\n: hi there\nretry: 10\n',
        '{"a":NaN,"b":tru,\'c\':1e5}',
        "",
    ],
)
def test_nothing_changes_where_nothing_is_replaced(text: str) -> None:
    same = rewrite_strings(text, lambda slots: [slot.text for slot in slots], lambda word: word)
    assert same == text


def test_strings_are_found_with_the_way_to_them() -> None:
    slots, bare = find_strings('{"a": {"b": ["x", {"c": "y"}]}, "d": "z"} word')
    found = [(slot.path, slot.text) for slot in slots if not slot.is_key]
    assert found == [(("a", "b"), "x"), (("a", "b", "c"), "y"), (("d",), "z")]
    assert [slot.text for slot in slots if slot.is_key] == ["a", "b", "c", "d"]
    assert len(bare) == 1


def test_line_of_a_stream_starts_afresh() -> None:
    slots, _ = find_strings('{"a":{"b":"x"\n{"c":"y"}\ndata: {"d":"z"}')
    assert [slot.path for slot in slots if not slot.is_key] == [("a", "b"), ("c",), ("d",)]


def test_escapes_stay_escapes() -> None:
    text = '"\\u00e9 \\ud83d\\ude00 a\\n\\u0041"'
    filler = Filler()
    redacted = rewrite_strings(text, lambda slots: [filler.fill(s.text) for s in slots], str)
    assert redacted == '"\\u00e9 \\ud800\\udc00 x\\n\\u0058"'


def test_string_must_not_change_its_length() -> None:
    with pytest.raises(ValueError, match="length"):
        rewrite_strings('"abc"', lambda _: ["ab"], str)


# What comes from Grok


@pytest.mark.parametrize("name", sorted(STREAM_EXPECTATIONS))
def test_stream_keeps_its_length_and_says_nothing(name: str) -> None:
    data = read_stream(name)
    redacted = Redaction(b"{}", []).answer(data)
    assert len(redacted) == len(data)
    words = {word for word in STREAM_EXPECTATIONS[name]["content"].split() if len(word) > 7}
    assert not [word for word in words if word.isalpha() and word.encode() in redacted]


@pytest.mark.parametrize("name", sorted(BODY_EXPECTATIONS))
def test_refusal_keeps_its_length(name: str) -> None:
    data = read_body(name)
    assert len(Redaction(b"{}", []).answer(data)) == len(data)


def test_words_of_the_protocol_stay() -> None:
    token = "<think>so</think> a<b <grok:render card_id='c8' type='citation'>1</grok:render>"
    line = json.dumps({"result": {"response": {"token": token, "messageTag": "final"}}})
    (shown,) = json.loads(Redaction(b"{}", []).answer(line.encode()))["result"].values()
    assert shown["messageTag"] == "final"
    assert shown["token"].startswith("<think>xx</think> x<x <grok:render card_id='x")
    assert shown["token"].endswith("' type='citation'>0</grok:render>")


def test_markup_that_goes_on_in_the_next_token_is_known() -> None:
    lines = "".join(
        json.dumps({"result": {"response": {"token": token}}}) + "\n"
        for token in ("see <grok:ren", "der card_id='c8'", ">x</grok:", "render>")
    )
    shown = Redaction(b"{}", []).answer(lines.encode()).decode()
    tokens = [json.loads(line)["result"]["response"]["token"] for line in shown.splitlines()]
    assert tokens[0] == "xxx <grok:ren"
    assert tokens[1].startswith("der card_id='")
    assert tokens[2:] == [">x</grok:", "render>"]


@pytest.mark.parametrize(
    "text",
    [
        "what is <grok:render my canary password",
        "<grok:render canary>x",
        "<xai:tool_usage_card canary='canary' canary=canary/>",
        "<grok:render type='canary' card_type=\"canary card\">",
        "<grok:render card_id='canary' type='citation' canary>",
        "<grok:render card_id='canary",
        "<grok:render card_id='canary'canary card_id=canary",
        "<grok:renderer canary><xai:tool_usage_canary>",
    ],
)
def test_what_anybody_writes_into_a_tag_is_text(text: str) -> None:
    redaction = Redaction(b"{}", [])
    halves = [text[: len(text) // 2], text[len(text) // 2 :]]
    lines = [json.dumps({"result": {"response": {"token": half}}}) for half in halves]
    answer = redaction.answer("\n".join(lines).encode()).decode()
    shown = "".join(json.loads(line)["result"]["response"]["token"] for line in answer.split("\n"))
    for one in (shown, redaction.text(text)):
        assert len(one) == len(text)
        assert "anar" not in one
        assert [c for c in one if not c.isalnum()] == [c for c in text if not c.isalnum()]


def test_known_words_of_a_tag_stay() -> None:
    tag = '<grok:render card_id="c" card_type="citation_card" type="render_inline_citation">'
    assert Redaction(b"{}", []).text(tag) == tag.replace('"c"', '"x"')


def test_card_and_its_mark_have_the_same_name() -> None:
    card = json.dumps({"id": "card-8", "cardType": "citation_card", "url": "https://a.example/b"})
    lines = [
        {"result": {"response": {"cardAttachment": {"jsonData": card}}}},
        {"result": {"response": {"token": '<grok:render card_id="card-8">'}}},
    ]
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    shown = [json.loads(line) for line in Redaction(b"{}", []).answer(data).splitlines()]
    renamed = json.loads(shown[0]["result"]["response"]["cardAttachment"]["jsonData"])
    assert renamed["id"] not in ("card-8", "")
    assert f'card_id="{renamed["id"]}"' in shown[1]["result"]["response"]["token"]


def test_answer_that_is_json_is_no_protocol() -> None:
    said = '{"canary_name": "x", "type": "canary", "error": {"canary": 1, "code": "canary"}}'
    for response in ({"token": said}, {"modelResponse": {"message": said, "steps": [said]}}):
        shown = Redaction(b"{}", []).answer(json.dumps({"result": response}).encode())
        assert b"anar" not in shown


def test_keys_that_may_say_something_are_renamed() -> None:
    key = "0a1b2c3d-4e5f-6789"
    data = json.dumps({"result": {key: {"username": "ulrike", "novelty": "Ulrike"}}}).encode()
    shown = Redaction(b"{}", []).answer(data)
    assert key.encode() not in shown
    assert b"novelty" in shown
    assert b"lrike" not in shown


def test_long_numbers_are_not_shown() -> None:
    data = (
        b'{"userId":4917012345678,"wait":12648,"share":0.25,"x":-1234567.5,"y":1e5,"z":[7777777]}'
    )
    shown = Redaction(b"{}", []).answer(data)
    assert json.loads(shown) == {
        "userId": 1111111111111,
        "wait": 12648,
        "share": 0.25,
        "x": -1111111.1,
        "y": 1e5,
        "z": [1111111],
    }


def test_error_is_read_as_before() -> None:
    data = b'{"error":{"code":16,"message":"Bad [WKE=unauthenticated:x] for ulrike"}}'
    shown = json.loads(Redaction(b"{}", []).answer(data))["error"]
    assert shown == {"code": 16, "message": "Xxx [XXX=unauthenticated:x] xxx xxxxxx"}
    named = b'{"error":{"name":"RateLimitError"}}'
    assert Redaction(b"{}", []).answer(named) == named


@pytest.mark.parametrize("key", ["code", "type", "messageTag", "modelId", "fileMimeType"])
def test_only_known_words_of_grok_s_stay(key: str) -> None:
    redaction = Redaction(b"{}", ["grok-3"])
    for known in ("final", "grok-3", "image/png", "16"):
        frame = json.dumps({"error": {key: known}}).encode()
        assert redaction.answer(frame) == frame
    for unknown in ("canary", "canary-1a2b", "4917012345"):
        shown = redaction.answer(json.dumps({"error": {key: unknown}}).encode())
        assert not {unknown, "canary"} & set(json.loads(shown)["error"][key].split("-"))


def test_page_is_read_as_before() -> None:
    shown = Redaction(b"{}", []).answer(read_body("challenge.html"))
    assert b"<title>Just a moment" in shown


def test_picture_shows_nothing() -> None:
    shown = Redaction(b"{}", []).answer(PNG)
    assert sniff_media_type(shown) == "image/png"
    assert set(shown[8:]) == {0}
    assert len(shown) == len(PNG)


@pytest.mark.parametrize(
    "beginning", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFFcanaWEBP", b"GIF87a", b"GIF89a"]
)
def test_text_that_begins_like_a_picture_shows_nothing(beginning: bytes) -> None:
    said = beginning + b"canarycanary"
    shown = Redaction(b"{}", []).answer(said)
    assert len(shown) == len(said)
    assert sniff_media_type(shown) == sniff_media_type(said)
    assert b"ana" not in shown
    encoded = base64.b64encode(said).decode()
    decoded = base64.b64decode(redact({"file_data": encoded})["file_data"], validate=True)
    assert len(decoded) == len(said)
    assert sniff_media_type(decoded) == sniff_media_type(said)
    assert b"ana" not in decoded


def test_picture_that_is_none_shows_nothing() -> None:
    assert Redaction(b"{}", []).picture(b"I am a canary.") == bytes(14)


def test_reasons_lose_addresses_and_quotes() -> None:
    reason = "no way to grok.example:443 (10.0.0.7, fe80::1): “I am Ulrike”"
    shown = Redaction(b"{}", []).reason(reason)
    assert shown == "no way to xxxx.xxxxxxx:000 (00.0.0.0, xx00::0): “X xx Xxxxxx”"


@pytest.mark.parametrize(
    "reason",
    [
        "illegal status line: bytearray(b'HTTP/1.1 CANARY it\\'s CANARY')",
        'illegal header line: bytearray(b"canary\'s canary")',
        "the content coding 'canary' is not known",
        "Grok is down (“canary, it is",
        "the proxy refused: 407 Canary canary-1a2b canary_3 4917012345 1234-5678 сanary",
        "it says 'canary of the",
        "[SSL: CANARY] canary (_canary.c:1000), 1a2b3c4d",
    ],
)
def test_what_far_ends_say_in_a_reason_is_not_told(reason: str) -> None:
    shown = Redaction(b"{}", []).reason(reason)
    assert len(shown) == len(reason)
    assert "anar" not in shown.lower()
    assert not any(digits in shown for digits in ("1a2b", "4917", "1234", "5678"))


@pytest.mark.parametrize(
    "reason",
    [
        *(os.strerror(code) for code in errno.errorcode if "." not in os.strerror(code)),
        "None of the accounts can answer for grok-3 now: 1 is cooling down, 2 are busy; try later.",
        "the operator of this server must set a fresh x-statsig-id in GROK_HEADERS.",
        "no answer within 7.5 seconds",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired",
    ],
)
def test_what_this_program_says_stays(reason: str) -> None:
    assert Redaction(b"{}", ["grok-3"]).reason(reason) == reason


@pytest.mark.parametrize("name", sorted(BODY_EXPECTATIONS))
def test_every_refusal_can_be_read(name: str) -> None:
    message = read_refusal(BODY_EXPECTATIONS[name]["status"], {}, read_body(name)).message
    redaction = Redaction(b"{}", [])
    shown = re.sub("“.*”", lambda quote: redaction.text(quote.group()), message)
    assert redaction.reason(message) == shown


def test_headers_of_grok() -> None:
    redaction = Redaction(b"{}", [])
    for known in ("application/json", "text/html; charset=UTF-8", "1800", "0.5"):
        assert redaction.grok_header(known) == known
    assert redaction.grok_header("text/html; canary") == "text/html; xxxxxx"
    assert redaction.grok_header("4917012345") == "0000000000"


# What comes from a client


def test_request_keeps_what_decides() -> None:
    shown = redact(
        {
            "model": "grok-3",
            "stream": True,
            "reasoning_effort": "high",
            "search_results": "inline,list",
            "temperature": 0.7,
            "messages": [
                {"role": "system", "content": "Be kind to Ulrike."},
                {"role": "user", "content": [{"type": "text", "text": "USER: hi <think>"}]},
            ],
            "user": "ulrike",
            "metadata": {"ulrike": "yes"},
        },
        "grok-3",
    )
    assert shown["model"] == "grok-3"
    assert (shown["reasoning_effort"], shown["search_results"]) == ("high", "inline,list")
    assert shown["messages"][0] == {"role": "system", "content": "Xx xxxx xx Xxxxxx."}
    assert shown["messages"][1]["content"] == [{"type": "text", "text": "USER: xx <think>"}]
    assert "lrike" not in json.dumps(shown)


def test_model_that_is_none_is_somebody_s_text() -> None:
    assert redact({"model": "ulrike", "role": "ulrike"}) == {"model": "xxxxxx", "role": "xxxxxx"}


def test_stop_still_stops() -> None:
    body = json.dumps({"stop": ["END", "STOP"], "messages": [{"content": "THE END"}]}).encode()
    redaction = Redaction(body, [])
    shown = json.loads(redaction.request(body))
    text = redaction.text("Now STOP it, and END.")
    assert shown["stop"][1] in text
    assert shown["stop"][0] in text
    assert redact({"stop": "x", "other": 1})["stop"] == "a"
    assert redact({"stop": 7}) == {"stop": 7}
    assert redact(b'["stop"]') == b'["xxxx"]'


def test_pictures_and_files_of_a_request() -> None:
    picture = base64.b64encode(PNG).decode()
    text = base64.b64encode(b"I am Ulrike, and this is my diary.").decode()
    shown = redact(
        {
            "image_url": f"data:image/png;base64,{picture}",
            "file_data": text,
            "url": "https://a.example/ulrike.png",
        }
    )
    prefix, _, content = shown["image_url"].partition(",")
    assert prefix == "data:image/png;base64"
    decoded = base64.b64decode(content, validate=True)
    assert sniff_media_type(decoded) == "image/png"
    assert set(decoded[8:18]) == {0}
    assert set(decoded[18:]) == {ord("x")}
    assert base64.b64decode(shown["file_data"], validate=True) == b"x" * 34
    assert shown["url"].startswith("https://x.xxxxxxx/")


@pytest.mark.parametrize("size", range(8))
def test_base64_of_any_length_stays_base64(size: int) -> None:
    data = base64.b64encode(bytes(size)).decode()
    shown = redact({"file_data": data, "url": "data:text/plain;base64,"})["file_data"]
    assert base64.b64decode(shown, validate=True) == b"x" * size


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("data:text/plain;name=canary.txt;", "data:text/plain;xxxx=xxxxxx.xxx;"),
        ('DATA:canary/canary;name="a canary";', 'DATA:xxxxxx/xxxxxx;xxxx="x xxxxxx";'),
        ("data:application/pdf;charset=utf-8;", "data:application/pdf;charset=utf-8;"),
        ("data:;", "data:;"),
    ],
)
def test_parameters_of_a_data_uri_are_not_told(before: str, expected: str) -> None:
    assert redact({"file_data": f"{before}base64,aGVsbG8="})["file_data"] == (
        f"{expected}base64,eHh4eHg="
    )


def test_pictures_in_a_text_stay_pictures() -> None:
    redaction = Redaction(b"{}", [])
    png = "![a](data:image/png;base64,iVBO)"
    assert redaction.text(png) == "![x](data:image/png;base64,xXXX)"
    assert redaction.text("](data:image/canary;base64,iVBO)") == "](data:image/xxxxxx;base64,xXXX)"


def test_base64_that_is_none_keeps_its_length() -> None:
    assert len(redact({"file_data": "abcde"})["file_data"]) == 5


@pytest.mark.parametrize("body", [b"", b"no json", b'{"a', b'{"stop":', b"\xff\xfe", b"[1,"])
def test_what_is_no_request(body: bytes) -> None:
    assert len(redact(body)) == len(body)


def test_headers() -> None:
    redaction = Redaction(b"{}", [])
    assert redaction.header("inline, list") == "inline, list"
    assert redaction.header("ulrike") == "xxxxxx"

"""What some clients need, or browsers, or people who look for a mistake."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from .running import Check, FailedError, Level, collect, expect
from .shapes import (
    expect_completion,
    expect_error,
    expect_field,
    expect_json,
    expect_status,
    expect_stream,
    expect_stream_head,
    read_deltas,
    tell,
)
from .target import Target

BEYOND: list[Check] = []
_check = collect(Level.BEYOND, BEYOND)

_ORIGIN = {"origin": "https://app.example"}
_DAY = 86400


# Answers


@_check("model is echoed")
def model_is_echoed(target: Target) -> str:
    """The answer names the model that was asked."""
    expect_completion(target.answer)
    first = expect_stream(target.stream).chunks[0]
    named = {target.answer.json["model"], expect_field(first, "model", str, "a chunk")}
    expect(named == {target.model}, f"model is {tell(named)}, not {target.model}")
    return target.model


@_check("created")
def created(target: Target) -> str:
    """An answer says when it was made, in Unix seconds."""
    expect_completion(target.answer)
    apart = abs(target.answer.json["created"] - int(time.time()))
    expect(apart < _DAY, f"created is {tell(apart)} s from now")
    return f"{apart} s from now"


@_check("several choices")
def several_choices(target: Target) -> str:
    """With `n` there are as many choices, by their index."""
    indexes = [choice["index"] for choice in expect_completion(target.chat(n=2))]
    expect(indexes == [0, 1], f"the indexes are {indexes}")
    found = expect_stream(target.chat(n=2, stream=True))
    for index in (0, 1):
        text, reasons = read_deltas(found, index)
        expect(text, f"choice {index} of the stream is empty")
        expect(len(reasons) == 1, f"choice {index} of the stream ends {len(reasons)} times")
    return "two, streamed and not"


@_check("unknown parameters")
def unknown_parameters(target: Target) -> str:
    """Parameters that nobody knows are passed over."""
    expect_completion(target.chat(no_such_parameter={"a": [1]}, temperature=0.5, seed=1, user="me"))
    return "200"


@_check("null parameters")
def null_parameters(target: Target) -> str:
    """A parameter that is null is as good as none."""
    names = ("stop", "n", "temperature", "top_p", "max_tokens", "stream_options", "tools", "user")
    nothing: dict[str, Any] = dict.fromkeys(names)
    expect_completion(target.chat(**nothing))
    expect_stream(target.chat(stream=True, **nothing))
    return f"{len(names)} of them"


@_check("other roles")
def other_roles(target: Target) -> str:
    """Developer and tool messages may be in a conversation."""
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    messages = [
        {"role": "developer", "content": "You are brief."},
        {"role": "user", "content": "What is 1 + 1?", "name": "anna"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "2"},
    ]
    body = {"model": target.model, "messages": messages}
    expect_completion(target.request("POST", "/chat/completions", body))
    return "developer, tool, and a content of null"


@_check("stream by bytes")
def stream_by_bytes(target: Target) -> str:
    """A client that reads byte by byte gets the same kind of stream."""
    body = target.build_chat(stream=True)
    found = expect_stream(target.request("POST", "/chat/completions", body, step=1))
    text, reasons = read_deltas(found)
    expect(text and reasons, "it has no text, or no end")
    return f"{len(found.chunks)} chunks"


@_check("stream is not kept")
def stream_is_not_kept(target: Target) -> str:
    """A stream is marked so that nobody on its way keeps it."""
    kept = target.stream.header("cache-control") or ""
    expect("no-cache" in kept or "no-store" in kept, f"cache-control is {tell(kept)}")
    return kept


@_check("several at once")
def several_at_once(target: Target) -> str:
    """Several streams go on at once."""
    faults: list[Exception] = []
    expect(target.model, "there is no model")

    def ask() -> None:
        try:
            expect_stream(target.chat(stream=True))
        except Exception as exc:  # told in the thread that asked for it
            faults.append(exc)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise FailedError(f"{len(faults)} of 4 fail: {faults[0]}")
    return "four"


@_check("client that leaves")
def client_that_leaves(target: Target) -> str:
    """A client may leave in the middle of a stream; others get their answers."""
    with target.connect() as connection:
        body = target.build_chat(stream=True)
        connection.send(target.encode("POST", "/chat/completions", body))
        head = connection.receive_head()
        expect_stream_head(head)
        begun = b""
        for piece in connection.receive_pieces("POST", head):
            begun += piece
            if b"data:" in begun:
                break
        expect(b"data:" in begun, "the stream has no chunk")
    expect_completion(target.chat())
    return "the next answer is whole"


# Errors


@_check("error types")
def error_types(target: Target) -> str:
    """A field of a wrong type gets 400, and the error says which it is."""
    named = 0
    wrong: tuple[dict[str, Any], ...] = (
        {"messages": "hello"},
        {"messages": []},
        {"stream": "perhaps"},
        {"max_tokens": "many"},
        {"n": 0},
    )
    for fields in wrong:
        error = expect_error(target.chat(**fields), 400, 422)
        (name,) = fields
        named += name in str(error["param"]) or name in error["message"]
    expect(named == len(wrong), f"the field is named in {named} of {len(wrong)}")
    return f"{len(wrong)} of them"


@_check("error before a stream")
def error_before_a_stream(target: Target) -> str:
    """What is wrong with a request for a stream is told by status and JSON, not in a stream."""
    response = target.chat(stream=True, messages=[])
    expect_error(response, 400, 422)
    expect(response.media_type == "application/json", f"it is {tell(response.media_type)}")
    return f"{response.status} {response.media_type}"


@_check("error method")
def error_method(target: Target) -> str:
    """A method that a path does not take gets 405, and what it takes."""
    response = target.request("GET", "/chat/completions")
    expect_error(response, 405)
    allowed = response.header("allow") or ""
    expect("POST" in allowed, f"allow is {tell(allowed)}")
    return f"405, allow: {allowed}"


@_check("error depth")
def error_depth(target: Target) -> str:
    """JSON that is nested without end gets 400."""
    expect_error(target.request("POST", "/chat/completions", b"[" * 100_000), 400, 413)
    return "an error"


# HTTP


@_check("keep-alive")
def keep_alive(target: Target) -> str:
    """A connection serves several requests, or says that it will not."""
    with target.connect() as connection:
        for number, (method, path, body) in enumerate(
            (
                ("GET", "/models", None),
                ("POST", "/chat/completions", target.build_chat()),
                ("POST", "/chat/completions", target.build_chat(stream=True)),
                ("GET", "/no-such-path", None),
                ("GET", "/models", None),
            )
        ):
            connection.send(target.encode(method, path, body))
            response = connection.receive_response(method)
            if response.closes:
                return f"it says that it closes after {number + 1}"
    expect_status(response, 200)
    return "five requests, a stream among them"


@_check("HEAD")
def head(target: Target) -> str:
    """HEAD gets the head of what GET gets, and nothing behind it."""
    with target.connect() as connection:
        connection.send(target.encode("HEAD", "/models"))
        response = connection.receive_response("HEAD")
        expect_status(response, 200)
        if not response.closes:
            connection.send(target.encode("GET", "/models"))
            expect_json(connection.receive_response("GET"))
    return f"200, content-length {response.header('content-length')}"


@_check("body in pieces")
def body_in_pieces(target: Target) -> str:
    """The body of a request may come in any pieces."""
    whole = target.encode("POST", "/chat/completions", target.build_chat())
    with target.connect() as connection:
        for start in range(0, len(whole), 7):
            connection.send(whole[start : start + 7])
        expect_completion(connection.receive_response("POST"))
    return f"{len(whole) // 7 + 1} pieces"


@_check("chunked body")
def chunked_body(target: Target) -> str:
    """The body of a request may come in chunks, without a length."""
    data = json.dumps(target.build_chat()).encode()
    headers = {"transfer-encoding": "chunked", "content-type": "application/json"}
    head = target.encode("POST", "/chat/completions", headers=headers)
    chunks = [data[start : start + 16] for start in range(0, len(data), 16)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    with target.connect() as connection:
        connection.send(head + framed + b"0\r\n\r\n")
        expect_completion(connection.receive_response("POST"))
    return f"{len(chunks)} chunks"


@_check("expect: 100-continue")
def expect_continue(target: Target) -> str:
    """A client may ask whether to go on before it sends a body."""
    data = json.dumps(target.build_chat()).encode()
    headers = {"expect": "100-continue"}
    whole = target.encode("POST", "/chat/completions", data, headers=headers)
    with target.connect() as connection:
        connection.send(whole.removesuffix(data))
        status = connection.receive_head().status
        expect(status == 100, f"{status}, not 100")
        connection.send(data)
        expect_completion(connection.receive_response("POST"))
    return "100, and an answer"


@_check("byte order mark")
def byte_order_mark(target: Target) -> str:
    """A byte order mark before the JSON is passed over."""
    data = b"\xef\xbb\xbf" + json.dumps(target.build_chat()).encode()
    expect_completion(target.request("POST", "/chat/completions", data))
    return "200"


@_check("content types")
def content_types(target: Target) -> str:
    """JSON is taken as such, with a charset, and under a name that is not quite right."""
    types = ("application/json; charset=utf-8", "text/plain", "application/json-patch+json")
    for media_type in types:
        headers = {"content-type": media_type}
        response = target.request("POST", "/chat/completions", target.build_chat(), headers=headers)
        expect_completion(response)
    return f"{len(types)} of them"


# Browsers


@_check("CORS preflight")
def preflight(target: Target) -> str:
    """A page from elsewhere may ask, with a key."""
    wanted = "authorization, content-type, x-stainless-lang"
    headers = {
        **_ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": wanted,
    }
    response = target.request("OPTIONS", "/chat/completions", key=None, headers=headers)
    expect_status(response, 200, 204)
    origin = response.header("access-control-allow-origin")
    expect(origin in ("*", _ORIGIN["origin"]), f"access-control-allow-origin is {tell(origin)}")
    methods = response.header("access-control-allow-methods") or ""
    expect("POST" in methods, f"access-control-allow-methods is {tell(methods)}")
    allowed = (response.header("access-control-allow-headers") or "").lower()
    missing = [name for name in wanted.split(", ") if name not in allowed and allowed != "*"]
    expect(not missing, f"access-control-allow-headers lacks {', '.join(missing)}")
    return f"{response.status}, {origin}"


@_check("CORS answers")
def cors_answers(target: Target) -> str:
    """A page from elsewhere may read answers, streams and errors."""
    asked: tuple[tuple[str, str, Any, str | None], ...] = (
        ("GET", "/models", None, ""),
        ("POST", "/chat/completions", target.build_chat(), ""),
        ("POST", "/chat/completions", target.build_chat(stream=True), ""),
        ("POST", "/chat/completions", b"{", ""),
        ("GET", "/no-such-path", None, ""),
    )
    for method, path, body, key in asked:
        response = target.request(method, path, body, key=key, headers=_ORIGIN)
        origin = response.header("access-control-allow-origin")
        where = f"{response.status} of {method} {path}"
        expect(origin in ("*", _ORIGIN["origin"]), f"{where} has none")
    return f"{len(asked)} of them"


# People who look for a mistake


@_check("request id")
def request_id(target: Target) -> str:
    """Every answer has an id in `x-request-id`, each its own."""
    ids = {
        response.header("x-request-id")
        for response in (target.models, target.answer, target.stream, target.chat(messages=[]))
    }
    expect(None not in ids, "an answer has none")
    expect(len(ids) == 4, f"{len(ids)} ids in 4 answers")
    return f"such as {min(map(str, ids))}"


@_check("request id of the client")
def request_id_of_the_client(target: Target) -> str:
    """The client's own `x-request-id` is that of the answer."""
    headers = {"x-request-id": "conform-1.2_3"}
    found = target.request("GET", "/models", headers=headers).header("x-request-id")
    expect(found == "conform-1.2_3", f"it is {tell(found)}")
    return str(found)


@_check("dates")
def dates(target: Target) -> str:
    """Answers have a date."""
    found = target.models.header("date")
    expect(found, "there is none")
    return str(found)

"""What nearly every client needs."""

from __future__ import annotations

from urllib.parse import quote

from .running import Check, Level, SkippedError, collect, expect
from .shapes import (
    FINISH_REASONS,
    expect_completion,
    expect_error,
    expect_field,
    expect_json,
    expect_model,
    expect_status,
    expect_stream,
    expect_usage,
    read_deltas,
    read_text,
    tell,
)
from .target import Target

BASIC: list[Check] = []
_check = collect(Level.BASIC, BASIC)

NO_MODEL = "no-such-model-as-this"


# Models


@_check("models")
def list_models(target: Target) -> str:
    """GET /models lists models."""
    found = expect_json(target.models)
    expect(isinstance(found, dict), f"the body is no object: {tell(found)}")
    expect(found.get("object") == "list", f"object is {tell(found.get('object'))}")
    expect(isinstance(found.get("data"), list), "data is no list")
    names = [expect_model(model) for model in found["data"]]
    expect(names, "there is no model")
    expect(len(set(names)) == len(names), "a model is listed twice")
    return f"{len(names)} models, the first is {names[0]}"


@_check("model")
def show_model(target: Target) -> str:
    """GET /models/ID shows a model that is listed."""
    models = expect_field(expect_json(target.models), "data", list, "the list")
    expect(models, "there is no model")
    name = expect_field(models[0], "id", str, "a model")
    path = f"/models/{quote(name, errors='replace')}"
    shown = expect_model(expect_json(target.request("GET", path)))
    expect(shown == name, f"it shows {shown}, not {name}")
    return shown


# Answers


@_check("chat")
def answer(target: Target) -> str:
    """A question gets a chat completion."""
    choices = expect_completion(target.answer)
    expect(len(choices) == 1, f"{len(choices)} choices, not one")
    expect(choices[0]["index"] == 0, f"its index is {choices[0]['index']}")
    text = read_text(choices)
    expect(text, "the content is empty")
    return f"{len(text)} characters, finish_reason {choices[0]['finish_reason']}"


@_check("chat usage")
def answer_usage(target: Target) -> str:
    """A chat completion says what it took."""
    expect_completion(target.answer)
    return f"{expect_usage(target.answer.json.get('usage'))} tokens"


@_check("stream")
def stream(target: Target) -> str:
    """A question with `stream` gets a stream of chunks that ends with [DONE]."""
    found = expect_stream(target.stream)
    text, _ = read_deltas(found)
    expect(text, "the content is empty")
    return f"{len(found.chunks)} chunks, {len(text)} characters"


@_check("stream chunks")
def stream_chunks(target: Target) -> str:
    """All chunks of a stream belong together."""
    found = expect_stream(target.stream)
    for chunk in found.chunks:
        kind = chunk.get("object")
        expect(kind == "chat.completion.chunk", f"object is {tell(kind)}")
    for name, kind in (("id", str), ("created", int), ("model", str)):
        values = {expect_field(chunk, name, kind, "a chunk") for chunk in found.chunks}
        expect(len(values) == 1, f"{name} is not the same in all chunks: {tell(values)}")
    return f"id {found.chunks[0]['id']}"


@_check("stream begin")
def stream_begin(target: Target) -> str:
    """The first chunk with a choice says that the assistant speaks."""
    found = expect_stream(target.stream)
    read_deltas(found)
    choices = [choice for chunk in found.chunks for choice in chunk["choices"]]
    expect(choices, "no chunk has a choice")
    role = choices[0]["delta"].get("role")
    expect(role == "assistant", f"role is {tell(role)}")
    return "role assistant"


@_check("stream end")
def stream_end(target: Target) -> str:
    """The last chunk with a choice, and no other, says why it is the last."""
    found = expect_stream(target.stream)
    _, reasons = read_deltas(found)
    expect(len(reasons) == 1, f"{len(reasons)} chunks have a finish_reason")
    expect(reasons[0] in FINISH_REASONS, f"finish_reason is {tell(reasons[0])}")
    last = [chunk for chunk in found.chunks if chunk["choices"]][-1]
    expect(last["choices"][0].get("finish_reason"), "the last chunk has no finish_reason")
    return f"finish_reason {reasons[0]}"


@_check("stream usage")
def stream_usage(target: Target) -> str:
    """With `include_usage` the last chunk has the usage, and no choices."""
    found = expect_stream(target.chat(stream=True, stream_options={"include_usage": True}))
    *others, last = found.chunks
    expect(last.get("choices") == [], f"choices of the last chunk are {tell(last.get('choices'))}")
    total = expect_usage(last.get("usage"))
    early = [chunk for chunk in others if chunk.get("usage") is not None]
    expect(not early, f"{len(early)} chunks before it have one too")
    return f"{total} tokens"


@_check("stream without usage")
def stream_without_usage(target: Target) -> str:
    """Without `include_usage` no chunk lacks choices, which many clients take the first of."""
    empty = [chunk for chunk in expect_stream(target.stream).chunks if not chunk.get("choices")]
    expect(not empty, f"{len(empty)} chunks have no choices")
    return "all chunks have choices"


# What may be asked for


@_check("stop")
def stop(target: Target) -> str:
    """The answer ends before a text in `stop`."""
    words = read_text(expect_completion(target.answer)).split()
    if len(words) < 3:
        raise SkippedError("the answer is too short to end before a word of it")
    word = words[len(words) // 2]
    for stops in (word, [word]):
        choices = expect_completion(target.chat(stop=stops))
        expect(word not in read_text(choices), f"{tell(word)} is in the answer all the same")
        reason = choices[0]["finish_reason"]
        expect(reason == "stop", f"finish_reason is {reason}")
    return f"it ends before {tell(word)}"


@_check("max_tokens")
def max_tokens(target: Target) -> str:
    """The answer ends after `max_tokens`, and says so."""
    seen: list[str] = []
    for name in ("max_tokens", "max_completion_tokens"):
        response = target.chat("Count from one to a hundred, in words.", **{name: 4})
        choices = expect_completion(response)
        reason = choices[0]["finish_reason"]
        expect(reason == "length", f"finish_reason is {reason} with {name}")
        seen.append(f"{len(read_text(choices))} characters with {name}")
    return ", ".join(seen)


@_check("history")
def history(target: Target) -> str:
    """A conversation may have a system message, and earlier turns."""
    messages = [
        {"role": "system", "content": "You are brief."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Name a colour."},
    ]
    body = {"model": target.model, "messages": messages}
    choices = expect_completion(target.request("POST", "/chat/completions", body))
    return f"{len(read_text(choices))} characters"


@_check("content parts")
def content_parts(target: Target) -> str:
    """The content of a message may be a list of parts."""
    content = [{"type": "text", "text": "Name a"}, {"type": "text", "text": " colour."}]
    body = {"model": target.model, "messages": [{"role": "user", "content": content}]}
    choices = expect_completion(target.request("POST", "/chat/completions", body))
    return f"{len(read_text(choices))} characters"


@_check("unicode")
def unicode(target: Target) -> str:
    """Any script may come in, escaped or not, and what goes out is UTF-8."""
    for text in ("色の名前を一つ。", "Un color, por favor: 🌈", "\u0000 \u2028 'quotes\" \\"):
        expect_completion(target.chat(text))
        expect_stream(target.chat(text, stream=True))
    return "three scripts, both shapes"


# Errors


@_check("error body")
def error_body(target: Target) -> str:
    """A body that is no JSON gets 400, and an error as OpenAI's are."""
    error = expect_error(target.request("POST", "/chat/completions", b"{"), 400)
    return tell(error["message"])


@_check("error field")
def error_field(target: Target) -> str:
    """A request without messages gets 400, and an error as OpenAI's are."""
    response = target.request("POST", "/chat/completions", {"model": target.model})
    return tell(expect_error(response, 400, 422)["message"])


@_check("error model")
def error_model(target: Target) -> str:
    """A model that there is not gets 404 or 400, streamed or not."""
    for streamed in (False, True):
        response = target.chat(model=NO_MODEL, stream=streamed)
        error = expect_error(response, 404, 400)
    return f"{response.status}, code {error['code']}"


@_check("error path")
def error_path(target: Target) -> str:
    """A path that there is not gets 404, not a page."""
    error = expect_error(target.request("GET", "/no-such-path"), 404)
    return tell(error["message"])


@_check("no key")
def no_key(target: Target) -> str:
    """A request without a key gets 401."""
    if target.key is None:
        raise SkippedError("there is no --key")
    expect_error(target.request("GET", "/models", key=None), 401)
    response = target.request("POST", "/chat/completions", target.build_chat(), key=None)
    return f"401, code {expect_error(response, 401)['code']}"


@_check("wrong key")
def wrong_key(target: Target) -> str:
    """A request with a wrong key gets 401."""
    if target.key is None:
        raise SkippedError("there is no --key")
    response = target.request("POST", "/chat/completions", target.build_chat(), key="no-such-key")
    error = expect_error(response, 401)
    expect("no-such-key" not in error["message"], "the key is repeated")
    return f"401, code {error['code']}"


@_check("case of headers")
def case_of_headers(target: Target) -> str:
    """Names of headers, and the word Bearer, may be written in any case."""
    headers = {"AUTHORIZATION": f"bearer {target.key or 'none'}"}
    response = target.request("GET", "/models", key=None, headers=headers)
    expect_status(response, 200)
    return "200"

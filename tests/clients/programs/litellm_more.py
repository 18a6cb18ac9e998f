"""litellm beyond the guide: address and key come as arguments, what it saw goes out as JSON."""

import asyncio
import json
import sys

import litellm

ADDRESS, KEY = sys.argv[1:]
ASK = {"model": "openai/grok-3", "api_base": ADDRESS, "api_key": KEY, "num_retries": 0}


def say(text: str) -> list[dict[str, str]]:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]


seen = {}
chunks = list(
    litellm.completion(
        **ASK, messages=say("hi"), stream=True, stream_options={"include_usage": True}
    )
)
built = litellm.stream_chunk_builder(chunks, messages=say("hi"))
seen["streamed"] = built.choices[0].message.content
seen["finish"] = built.choices[0].finish_reason
seen["usage"] = built.usage.total_tokens
thinking = litellm.completion(
    **{**ASK, "model": "openai/grok-3-reasoning"},
    messages=say("hi"),
    extra_body={"thinking_format": "reasoning_content"},
)
seen["thinking"] = thinking.choices[0].message.reasoning_content
blue = '[[say:{"name": "blue"}:say]]'
formed = litellm.completion(**ASK, messages=say(blue), response_format={"type": "json_object"})
seen["formed"] = json.loads(formed.choices[0].message.content)
errors = {}
for fault in ("block_page", "error_line"):
    for stream in (False, True):
        try:
            answer = litellm.completion(**ASK, messages=say(f"[[fault:{fault}]]"), stream=stream)
            list(answer)
        except Exception as exc:
            errors[f"{fault} {stream}"] = [type(exc).__name__, getattr(exc, "status_code", None)]
try:
    litellm.completion(**{**ASK, "api_key": "sk-wrong"}, messages=say("hi"))
except litellm.AuthenticationError:
    errors["key"] = True
try:
    litellm.completion(**{**ASK, "model": "openai/gpt-1"}, messages=say("hi"))
except litellm.NotFoundError:
    errors["model"] = True
seen["errors"] = errors


async def ask() -> list[str]:
    """The same, async."""
    whole = await litellm.acompletion(**ASK, messages=say("hi"))
    stream = await litellm.acompletion(**ASK, messages=say("hi"), stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    return [whole.choices[0].message.content, text]


seen["async"] = asyncio.run(ask())
pictures = litellm.image_generation(
    prompt="a heron", model="openai/grok-3-imageGen", api_base=ADDRESS, api_key=KEY, n=2
)
seen["pictures"] = [picture["url"][:22] for picture in pictures.data]
print(json.dumps(seen))

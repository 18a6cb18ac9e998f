"""instructor beyond the guide: address and key come as arguments, what it saw goes out as JSON."""

import asyncio
import json
import sys

import instructor
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel, field_validator

ADDRESS, KEY = sys.argv[1:]
ASK = {"model": "grok-3"}


class Colour(BaseModel):
    """What is asked for."""

    name: str
    shades: list[str] = []

    @field_validator("name")
    @classmethod
    def check_name(cls, name: str) -> str:
        """Red is not wanted."""
        if name == "red":
            raise ValueError("any colour but red")
        return name


def say(*texts: str) -> list[dict[str, str]]:
    """A conversation in which Grok says these."""
    return [{"role": "user", "content": " ".join(f"[[say:{text}:say]]" for text in texts)}]


client = instructor.from_openai(OpenAI(base_url=ADDRESS, api_key=KEY), mode=instructor.Mode.JSON)
blue = '{"name": "blue", "shades": ["navy"]}'
seen = {}
seen["retried"] = client.chat.completions.create(
    **ASK, messages=say('{"name": "red"}', blue), response_model=Colour, max_retries=2
).model_dump()
partial = client.chat.completions.create_partial(**ASK, messages=say(blue), response_model=Colour)
seen["partial"] = [each.model_dump() for each in partial][-1]
many = '{"tasks": [{"name": "blue"}, {"name": "green"}]}'
iterable = client.chat.completions.create_iterable(**ASK, messages=say(many), response_model=Colour)
seen["iterable"] = [each.name for each in iterable]
try:
    client.chat.completions.create(
        **ASK, messages=say("no JSON"), response_model=Colour, max_retries=1
    )
except Exception as exc:
    seen["failed"] = type(exc).__name__

fenced = instructor.from_openai(OpenAI(base_url=ADDRESS, api_key=KEY), mode=instructor.Mode.MD_JSON)
seen["fenced"] = fenced.chat.completions.create(
    **ASK, messages=say(f"Here it is:\n```json\n{blue}\n```\n"), response_model=Colour
).model_dump()


async def ask() -> dict[str, object]:
    """The same, async, with the schema in `response_format`."""
    asynchronous = instructor.from_openai(
        AsyncOpenAI(base_url=ADDRESS, api_key=KEY), mode=instructor.Mode.JSON_SCHEMA
    )
    answer = await asynchronous.chat.completions.create(
        **ASK, messages=say(blue), response_model=Colour
    )
    return answer.model_dump()


seen["async"] = asyncio.run(ask())
print(json.dumps(seen))

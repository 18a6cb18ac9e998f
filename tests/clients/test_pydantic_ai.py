"""`pydantic-ai`, as its users use it."""

from __future__ import annotations

import asyncio
from typing import Any

import pydantic
import pytest
from pydantic_ai import Agent, ModelHTTPError, NativeOutput, PromptedOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from transports.simulator import FaultKind

from .guide import ANSWER, QUESTION, run_snippet
from .stand import KEY, Stand

pytestmark = pytest.mark.usefixtures("_sweep")


def build_agent(stand: Stand, model: str = "grok-3", **options: Any) -> Agent[None, Any]:
    """An agent on a model of this server's."""
    provider = OpenAIProvider(base_url=stand.base_url, api_key=KEY)
    return Agent(OpenAIChatModel(model, provider=provider), **options)


def test_guide(stand: Stand) -> None:
    assert run_snippet("pydantic-ai", stand) == ANSWER


def test_conversation(stand: Stand) -> None:
    agent = build_agent(stand, instructions="Be short.")
    first = agent.run_sync("hi")
    second = agent.run_sync(QUESTION, message_history=first.all_messages())
    assert second.output == ANSWER
    assert second.usage.output_tokens > 0
    message = stand.questions[1].body["message"]
    assert message.startswith("USER: Be short.\nhi\nASSISTANT: You asked: ")
    assert message.endswith(f"USER: {QUESTION}")


def test_stream(stand: Stand) -> None:
    async def use() -> list[str]:
        async with build_agent(stand).run_stream(QUESTION) as result:
            return [text async for text in result.stream_text(delta=True, debounce_by=None)]

    pieces = asyncio.run(use())
    assert "".join(pieces) == ANSWER
    assert len(pieces) > 4


def test_thinking(stand: Stand) -> None:
    result = build_agent(stand, "grok-3-reasoning").run_sync(QUESTION)
    kinds = [part.part_kind for part in result.all_messages()[-1].parts]
    assert kinds == ["thinking", "text"]
    assert result.output.strip() == ANSWER


class Colour(pydantic.BaseModel):
    """What is asked for."""

    name: str


@pytest.mark.parametrize("kind", [NativeOutput, PromptedOutput])
def test_structured_output(stand: Stand, kind: Any) -> None:
    agent = build_agent(stand, output_type=kind(Colour))
    assert agent.run_sync('[[say:{"name": "blue"}:say]]').output == Colour(name="blue")
    assert '"name"' in stand.questions[0].body["message"]


def test_it_asks_again_for_what_does_not_fit(stand: Stand) -> None:
    agent = build_agent(stand, output_type=NativeOutput(Colour), retries=2)
    wishes = '[[say:{"colour": "blue"}:say]] [[say:{"name": "blue"}:say]]'
    assert agent.run_sync(wishes).output == Colour(name="blue")
    assert len(stand.questions) == 2


def test_errors(stand: Stand) -> None:
    stand.order(FaultKind.BLOCK_PAGE)
    with pytest.raises(ModelHTTPError) as caught:
        build_agent(stand).run_sync(QUESTION)
    assert caught.value.status_code == 503

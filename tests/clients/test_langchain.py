"""`langchain-openai`, as its users use it."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pydantic
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

from transports.simulator import FaultKind

from .guide import ANSWER, QUESTION, run_snippet
from .stand import KEY, Stand

pytestmark = pytest.mark.usefixtures("_sweep")


def build_model(stand: Stand, model: str = "grok-3", **options: Any) -> ChatOpenAI:
    """A chat model of this server's."""
    return ChatOpenAI(model=model, base_url=stand.base_url, api_key=KEY, max_retries=0, **options)


def test_guide(stand: Stand) -> None:
    assert run_snippet("langchain-openai", stand) == ANSWER


def test_conversation(stand: Stand) -> None:
    answer = build_model(stand).invoke(
        [SystemMessage("Be short."), HumanMessage("hi"), AIMessage("Well?"), HumanMessage(QUESTION)]
    )
    assert answer.content == ANSWER
    assert answer.response_metadata["finish_reason"] == "stop"
    usage = answer.usage_metadata
    assert usage is not None
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
    assert stand.questions[0].body["message"] == (
        f"USER: Be short.\nhi\nASSISTANT: Well?\nUSER: {QUESTION}"
    )


def test_stream(stand: Stand) -> None:
    chunks = list(build_model(stand, stream_usage=True).stream(QUESTION))
    assert "".join(str(chunk.content) for chunk in chunks) == ANSWER
    assert len(chunks) > 10
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.response_metadata["finish_reason"] == "stop"
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] > 0


def test_async(stand: Stand) -> None:
    async def use() -> tuple[str, str, list[Any]]:
        model = build_model(stand)
        whole = await model.ainvoke(QUESTION)
        text = "".join([str(chunk.content) async for chunk in model.astream(QUESTION)])
        many = await model.abatch([QUESTION] * 3)
        return str(whole.content), text, [each.content for each in many]

    assert asyncio.run(use()) == (ANSWER, ANSWER, [ANSWER] * 3)


class Colour(pydantic.BaseModel):
    """What is asked for."""

    name: str


@pytest.mark.parametrize("method", ["json_mode", "json_schema"])
def test_structured_output(stand: Stand, method: str) -> None:
    model = build_model(stand).with_structured_output(Colour, method=method)
    assert model.invoke('[[say:{"name": "blue"}:say]]') == Colour(name="blue")


def test_errors(stand: Stand) -> None:
    stand.order(FaultKind.BLOCK_PAGE, times=2)
    with pytest.raises(openai.InternalServerError):
        build_model(stand).invoke(QUESTION)
    with pytest.raises(openai.InternalServerError):
        list(build_model(stand).stream(QUESTION))
    stand.order(FaultKind.ERROR_LINE)
    with pytest.raises(openai.APIError, match="simulation"):
        list(build_model(stand).stream(QUESTION))

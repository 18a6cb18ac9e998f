"""From the client's request to what is to be asked: everything that needs no waiting."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from .dialects.base import Dialect
from .errors import InvalidRequestError
from .models import Model, ModelTable
from .prompt import Prompt, build_prompt
from .request import ChatRequest, ImageLink
from .settings import LongInput, SearchFormat, Settings, ThinkingFormat

_EFFORT = "reasoning_effort"


class Plan(msgspec.Struct, frozen=True):
    """What is asked in every attempt, with whatever credential."""

    request: ChatRequest
    """With the settings where it says nothing."""

    model: Model
    prompt: Prompt

    @property
    def links(self) -> tuple[ImageLink, ...]:
        """Pictures that have yet to be fetched."""
        return tuple(a for a in self.prompt.attachments if isinstance(a, ImageLink))


def read_plan(
    body: bytes,
    headers: Mapping[str, str],
    dialect: Dialect,
    models: ModelTable,
    settings: Settings,
) -> Plan:
    """Read a request.

    Raises:
        InvalidRequestError: It cannot be right, or cannot be done.
    """
    request = dialect.decode_request(body, headers)
    model = models.find(request.model)
    chosen = models.choose(model, thinks=request.thinks)
    ignored = request.ignored if chosen is not None else (*request.ignored, _EFFORT)
    if ignored and settings.strict_params:
        raise InvalidRequestError(
            f"{ignored[0]} cannot be heeded here, and STRICT_PARAMS is on.",
            param=ignored[0],
            code="unsupported_parameter",
        )
    thinking = request.thinking or _choose_thinking(request, settings)
    search = _choose_search(request, settings) if request.search is None else request.search
    if request.drawing is not None:
        thinking, search = ThinkingFormat.HIDDEN, frozenset()
    model = chosen or model
    prompt = build_prompt(
        request.turns, last_turn_only=model.last_turn_only, instruction=request.instruction
    )
    _check_length(prompt, settings)
    plan = Plan(
        replace(
            request,
            turns=(),  # they may be large, and the answer may be long
            thinking=thinking,
            search=search,
            ignored=tuple(dict.fromkeys(ignored)),
        ),
        model,
        prompt,
    )
    if plan.links and not settings.fetch_images:
        raise InvalidRequestError(
            f"{plan.links[0].path} is an address, and this server fetches none (FETCH_IMAGES); "
            "send the picture as a data URI.",
            param=plan.links[0].path,
        )
    return plan


_IN_TEXT = frozenset({SearchFormat.FRONT, SearchFormat.INLINE})


def _choose_thinking(request: ChatRequest, settings: Settings) -> ThinkingFormat:
    """The operator's choice; but not in the content, where that is to have a form."""
    if request.instruction and settings.thinking is ThinkingFormat.THINK:
        return ThinkingFormat.REASONING_CONTENT
    return settings.thinking


def _choose_search(request: ChatRequest, settings: Settings) -> frozenset[SearchFormat]:
    """The same."""
    return settings.search - _IN_TEXT if request.instruction else settings.search


def _check_length(prompt: Prompt, settings: Settings) -> None:
    limit = settings.long_input_chars
    if settings.long_input is LongInput.REFUSE and len(prompt.message) > limit:
        raise InvalidRequestError(
            f"The conversation has {len(prompt.message)} characters, and {limit} are taken here; "
            "leave out what is old.",
            param="messages",
            code="context_length_exceeded",
        )

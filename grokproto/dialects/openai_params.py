"""The parameters of a chat completion: what is done with each, in one table.

Whoever sends a parameter that changes answers elsewhere and not here shall know it. So a parameter
that cannot be heeded is named, unless its value asks for nothing: a temperature of 1 is what one
gets anyway.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
MAX_IGNORED = 32
"""Names that are told of one request."""


class Support(enum.Enum):
    """What is done with a parameter."""

    HONOURED = "honoured"
    """Grok, or the shape of the answer, follows it."""
    EMULATED = "emulated"
    """Grok knows nothing of it; it is done here."""
    TAKEN = "taken"
    """It asks for nothing that would change the answer."""
    IGNORED = "ignored"
    """It cannot be followed."""


class Parameter(msgspec.Struct, frozen=True):
    """One row."""

    name: str
    support: Support
    note: str
    neutral: tuple[Any, ...] = ()
    """Values that ask for nothing, so that ignoring them changes nothing."""


_H, _E, _T, _I = Support.HONOURED, Support.EMULATED, Support.TAKEN, Support.IGNORED

PARAMETERS: tuple[Parameter, ...] = (
    Parameter("model", _H, "One of `GET /v1/models`"),
    Parameter("messages", _H, "Become one text, since Grok takes one; see Limits"),
    Parameter("stream", _H, "Chunks as they come"),
    Parameter("stream_options", _E, "`include_usage`: a last chunk with the usage"),
    Parameter("stop", _E, "Up to four; the text ends before the first that appears"),
    Parameter("max_completion_tokens", _E, "By the estimate; `finish_reason` is `length`"),
    Parameter("max_tokens", _E, "The same; the smaller one counts"),
    Parameter("n", _E, "Up to eight conversations at once, each a call"),
    Parameter("reasoning_effort", _E, "On, off, or the model that thinks; see Thinking"),
    Parameter("response_format", _E, "JSON and schemas are asked for in the prompt, not enforced"),
    Parameter("thinking_format", _E, "Ours: `think`, `reasoning_content` or `hidden`"),
    Parameter("search_results", _E, "Ours: `front`, `inline`, `annotations`, `list`, or `none`"),
    Parameter("user", _T, "Has no effect"),
    Parameter("metadata", _T, "Has no effect"),
    Parameter("store", _T, "Nothing is stored here"),
    Parameter("safety_identifier", _T, "Has no effect"),
    Parameter("prompt_cache_key", _T, "Has no effect"),
    Parameter("temperature", _I, "Grok's web API has none", (1,)),
    Parameter("top_p", _I, "As above", (1,)),
    Parameter("presence_penalty", _I, "As above", (0,)),
    Parameter("frequency_penalty", _I, "As above", (0,)),
    Parameter("logit_bias", _I, "As above", ({},)),
    Parameter("seed", _I, "As above"),
    Parameter("logprobs", _I, "Grok tells none", (False,)),
    Parameter("top_logprobs", _I, "As above", (0,)),
    Parameter("tools", _I, "Grok calls no tools of yours", ([],)),
    Parameter("tool_choice", _I, "As above", ("none", "auto")),
    Parameter("parallel_tool_calls", _I, "As above", (True, False)),
    Parameter("functions", _I, "As above", ([],)),
    Parameter("function_call", _I, "As above", ("none", "auto")),
    Parameter("modalities", _I, "Text only", (["text"],)),
    Parameter("audio", _I, "As above"),
    Parameter("prediction", _I, "Has no counterpart"),
    Parameter("verbosity", _I, "Has no counterpart", ("medium",)),
    Parameter("web_search_options", _I, "The model decides; `grok-3-search` always searches"),
    Parameter("service_tier", _I, "There is one", ("auto", "default")),
)
"""In the order of the documentation. A parameter that is not here is ignored too."""

_BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}
_STREAM_OPTIONS = frozenset({"include_usage", "include_obfuscation"})


def list_ignored(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the parameters of a chat completion that would change the answer, if they could be
    heeded."""
    ignored = [name for name, value in fields.items() if _is_ignored(name, value)]
    options = fields.get("stream_options")
    if isinstance(options, dict):
        ignored += [f"stream_options.{name}" for name in options if name not in _STREAM_OPTIONS]
    return make_plain(ignored)


def _is_ignored(name: str, value: Any) -> bool:
    parameter = _BY_NAME.get(name)
    if parameter is None:
        return value is not None
    return parameter.support is Support.IGNORED and asks_for_something(value, parameter.neutral)


def asks_for_something(value: Any, neutral: tuple[Any, ...]) -> bool:
    """Whether a value is neither null nor one of those that mean the same."""
    return value is not None and not any(
        value == each and isinstance(value, bool) == isinstance(each, bool) for each in neutral
    )


def make_plain(names: Iterable[str]) -> tuple[str, ...]:
    """Names of a stranger's choice, as they may stand in a header: each once, and not too many."""
    plain = (name if _PLAIN_NAME.fullmatch(name) else "?" for name in names)
    return tuple(dict.fromkeys(plain))[:MAX_IGNORED]

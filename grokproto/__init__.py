"""grokproto: the protocol between OpenAI's API and grok.com's, without any I/O.

Two levels. The low one is for those who make the call to Grok themselves, with whatever HTTP client
they like. It reads a request and renders its answer, cut anywhere:

    question = read_question(body)                               # bytes in OpenAI's shape
    call = question.build_call(sso, request_id=identity)         # method, url, headers, body
    converter = ChunkConverter(question, identity=identity, created=int(time.time()))
    for chunk in converter.convert(response_body): ...           # or receive_data, receive_eof

`ChunkConverter` gives OpenAI's chunks as objects, `BodyConverter` the bytes for the client,
`EventConverter` answer events.

The high one decides a whole request, with credentials, retries and pictures; you carry out its
commands:

    exchange = Exchange(body, dialect=..., models=ModelTable(), settings=Settings(), ...)
    command = exchange.handle(events.Start(), now)

Names are loaded when they are first used, so that nobody waits for what he does not need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import answer, commands, events
    from .conversion import BodyConverter, Chunk, ChunkConverter, EventConverter
    from .dialects import DIALECTS
    from .errors import (
        ConfigurationError,
        GrokprotoError,
        InvalidRequestError,
        LocalProtocolError,
        RemoteProtocolError,
    )
    from .exchange import Exchange
    from .failures import POLICIES, Failure, FailureKind
    from .grok.calls import read_upload
    from .grok.payload import build_payload
    from .grok.reader import NEED_DATA, AnswerReader
    from .grok.refusals import read_refusal
    from .lease import Lease, Outcome, Quota
    from .models import Model, ModelTable, read_models
    from .prompt import Prompt, build_prompt
    from .question import Question, read_question
    from .request import ChatRequest, FilePart, ImagePart, Role, TextPart, Turn
    from .secret import Secret
    from .settings import ImageHost, SearchFormat, Settings, ThinkingFormat
    from .states import REPLIES, TRANSITIONS, State
    from .usage import TokenCounter, estimate_tokens

_HOMES: dict[str, tuple[str, ...]] = {
    "conversion": ("BodyConverter", "Chunk", "ChunkConverter", "EventConverter"),
    "dialects": ("DIALECTS",),
    "errors": (
        "ConfigurationError",
        "GrokprotoError",
        "InvalidRequestError",
        "LocalProtocolError",
        "RemoteProtocolError",
    ),
    "exchange": ("Exchange",),
    "failures": ("POLICIES", "Failure", "FailureKind"),
    "grok.calls": ("read_upload",),
    "grok.payload": ("build_payload",),
    "grok.reader": ("NEED_DATA", "AnswerReader"),
    "grok.refusals": ("read_refusal",),
    "lease": ("Lease", "Outcome", "Quota"),
    "models": ("Model", "ModelTable", "read_models"),
    "prompt": ("Prompt", "build_prompt"),
    "question": ("Question", "read_question"),
    "request": ("ChatRequest", "FilePart", "ImagePart", "Role", "TextPart", "Turn"),
    "secret": ("Secret",),
    "settings": ("ImageHost", "SearchFormat", "Settings", "ThinkingFormat"),
    "states": ("REPLIES", "TRANSITIONS", "State"),
    "usage": ("TokenCounter", "estimate_tokens"),
}
_MODULES = ("answer", "commands", "events")
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DIALECTS",
    "NEED_DATA",
    "POLICIES",
    "REPLIES",
    "TRANSITIONS",
    "AnswerReader",
    "BodyConverter",
    "ChatRequest",
    "Chunk",
    "ChunkConverter",
    "ConfigurationError",
    "EventConverter",
    "Exchange",
    "Failure",
    "FailureKind",
    "FilePart",
    "GrokprotoError",
    "ImageHost",
    "ImagePart",
    "InvalidRequestError",
    "Lease",
    "LocalProtocolError",
    "Model",
    "ModelTable",
    "Outcome",
    "Prompt",
    "Question",
    "Quota",
    "RemoteProtocolError",
    "Role",
    "SearchFormat",
    "Secret",
    "Settings",
    "State",
    "TextPart",
    "ThinkingFormat",
    "TokenCounter",
    "Turn",
    "answer",
    "build_payload",
    "build_prompt",
    "commands",
    "estimate_tokens",
    "events",
    "read_models",
    "read_question",
    "read_refusal",
    "read_upload",
]


if not TYPE_CHECKING:  # pragma: no branch  # with it, any name would do for a type checker

    def __getattr__(name: str) -> Any:
        """Load a name when it is first asked for (PEP 562)."""
        if name in _MODULES:
            return import_module(f".{name}", __name__)
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f".{home}", __name__), name)
        return value


def __dir__() -> list[str]:
    """All public names, loaded or not."""
    return [*__all__]

"""grokproto: the protocol between OpenAI's API and grok.com's, without any I/O.

Two levels. The low one reads an answer and renders it; you make the call to Grok yourself:

    reader = AnswerReader()                      # bytes in, answer events out
    encoder = DIALECTS["openai_chat"].build_encoder(request, "some-id", created)

The high one decides a whole request, with credentials, retries and pictures; you carry out its
commands:

    exchange = Exchange(body, dialect=..., models=ModelTable(), settings=Settings(), ...)
    command = exchange.handle(Start(), now)
"""

from __future__ import annotations

from . import answer, commands, events
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
from .grok.payload import build_payload
from .grok.reader import NEED_DATA, AnswerReader
from .grok.refusals import read_refusal
from .lease import Lease, Outcome, Quota
from .models import Model, ModelTable, read_models
from .prompt import Prompt, build_prompt
from .request import ChatRequest, ImagePart, Role, TextPart, Turn
from .secret import Secret
from .settings import ImageHost, Settings, ThinkingFormat
from .states import REPLIES, TRANSITIONS, State
from .usage import TokenCounter, estimate_tokens

__all__ = [
    "DIALECTS",
    "NEED_DATA",
    "POLICIES",
    "REPLIES",
    "TRANSITIONS",
    "AnswerReader",
    "ChatRequest",
    "ConfigurationError",
    "Exchange",
    "Failure",
    "FailureKind",
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
    "Quota",
    "RemoteProtocolError",
    "Role",
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
    "read_refusal",
]

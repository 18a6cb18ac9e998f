"""The body of a question to Grok.

[client code, 2025; recorded in spring 2025] All fields of `conversations/new` that the site sent
then; one of `modelName` and `modeId` says which model is meant (docs/wire.md 2.3). There is no list
of messages and no system role: the whole conversation is one text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..models import TOOLS, Model

_encoder = msgspec.json.Encoder()


def build_payload(
    model: Model,
    message: str,
    *,
    file_ids: Sequence[str] = (),
    temporary: bool = False,
    pictures: int = 0,
) -> dict[str, Any]:
    """Build the body of `POST /rest/app-chat/conversations/new`.

    Args:
        model: The row of the model table.
        message: The flattened conversation.
        file_ids: `fileMetadataId` of each picture uploaded with the same account.
        temporary: Ask for a private chat.
        pictures: How many are wanted; as many as the site asks for where this is 0.
    """
    selector = {"modelName": model.grok_name} if model.mode is None else {"modeId": model.mode}
    draws = not model.tools or "imageGen" in model.tools
    return {
        "temporary": temporary,
        **selector,
        "message": message,
        "fileAttachments": list(file_ids),
        "imageAttachments": [],
        "disableSearch": False,
        "enableImageGeneration": draws,
        "returnImageBytes": False,
        "returnRawGrokInXaiRequest": False,
        "enableImageStreaming": draws,
        "imageGenerationCount": pictures or 2,
        "forceConcise": False,
        "toolOverrides": {tool: tool in model.tools for tool in TOOLS},
        "enableSideBySide": False,
        "sendFinalMetadata": True,
        "customPersonality": "",
        "deepsearchPreset": model.deepsearch or "",
        "isReasoning": model.reasoning,
        "webpageUrls": [],
        "disableTextFollowUps": True,
    }


def encode_payload(payload: dict[str, Any]) -> bytes:
    """The payload as JSON."""
    return _encoder.encode(payload)

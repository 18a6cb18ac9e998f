"""The conversion, as it is plainly written; all yardsticks share it."""

from __future__ import annotations

import json
from collections.abc import Iterator


def convert(line: bytes, identity: str, created: int) -> bytes:
    """A line of Grok's as an event of OpenAI's; nothing where it has no token."""
    token = json.loads(line)["result"]["response"].get("token")
    if not token:
        return b""
    chunk = {
        "id": identity,
        "object": "chat.completion.chunk",
        "created": created,
        "model": "grok-3",
        "choices": [{"index": 0, "delta": {"content": token}, "finish_reason": None}],
    }
    return f"data: {json.dumps(chunk)}\n\n".encode()


def whole(lines: Iterator[bytes] | list[bytes], identity: str, created: int) -> dict[str, object]:
    """All lines as one completion."""
    text = "".join(json.loads(line)["result"]["response"].get("token") or "" for line in lines)
    return {
        "id": identity,
        "object": "chat.completion",
        "created": created,
        "model": "grok-3",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
    }

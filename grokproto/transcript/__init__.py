"""Transcripts: an exchange written down, made fit to be kept, and told again.

`recording` is how it is written down, in any host. `redaction` takes out what people said, with
`filler`, `names`, `words`, `reasons` and `json_text`; `redacting` does so step by step.
`transcript` is what may be kept, its file, and how it is replayed; `player`, `form` and `written`
are what it needs for that.
`telling` says in sentences what was decided, and why.
"""

from __future__ import annotations

from .recording import MAX_BYTES, Notes, RecordedExchange, Recording
from .telling import Told, tell
from .transcript import (
    Difference,
    Transcript,
    build_transcript,
    decode_transcript,
    encode_transcript,
    replay,
)

__all__ = [
    "MAX_BYTES",
    "Difference",
    "Notes",
    "RecordedExchange",
    "Recording",
    "Told",
    "Transcript",
    "build_transcript",
    "decode_transcript",
    "encode_transcript",
    "replay",
    "tell",
]

"""Dialects: the APIs that clients speak. Each is a file here and a line in `DIALECTS`."""

from __future__ import annotations

from .base import Dialect
from .openai_chat import OpenAIChat
from .openai_images import OpenAIImages

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (OpenAIChat(), OpenAIImages())}
"""The dialects by name."""

"""`openai` for Node and the AI SDK, as their users use them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .guide import ANSWER
from .running import PROGRAMS, prepare_node, run, run_node_snippet
from .stand import KEY, Stand

pytestmark = pytest.mark.heavy
HI = ANSWER.replace("Name a colour.", "hi")


@pytest.mark.parametrize("heading", ["openai for Node", "AI SDK"])
def test_guide(stand: Stand, tmp_path: Path, heading: str) -> None:
    assert run_node_snippet(tmp_path, heading, stand) == ANSWER


def run_more(directory: Path, name: str, stand: Stand) -> object:
    """Run a program from a place where Node finds its packages."""
    prepare_node(directory)
    (directory / name).write_text((PROGRAMS / name).read_text(encoding="utf-8"))
    return json.loads(run(directory, "node", name, stand.base_url, KEY))


def test_openai(stand: Stand, tmp_path: Path) -> None:
    assert run_more(tmp_path, "openai_more.mjs", stand) == {
        "whole": HI,
        "streamed": HI,
        "events": ["connect", "content", "finalContent"],
        "raw": ["mine-2", "seed"],
        "parsed": {"name": "blue"},
        "pictures": ["image_generation.partial_image", "image_generation.completed"],
        "models": True,
        "errors": {
            "key": ["AuthenticationError", 401, "invalid_api_key"],
            "model": ["NotFoundError", 404, "model_not_found"],
            "body": ["BadRequestError", 400, None],
            "blocked": ["InternalServerError", 503, "cloudflare"],
            "mid-stream": ["APIError", None, "upstream"],
        },
        "retried": [1, HI],
        "left": True,
    }
    stand.wait_until_idle()
    assert stand.simulator.site.cancelled == 1


def test_ai_sdk(stand: Stand, tmp_path: Path) -> None:
    assert run_more(tmp_path, "ai_more.mjs", stand) == {
        "whole": HI,
        "finish": "stop",
        "usage": True,
        "streamed": HI,
        "streamUsage": True,
        "reasoning": "Weighing the question.\n",
        "object": {"name": "blue"},
        "error": [503, True],
        "streamError": True,
    }

"""`instructor`, as its users use it: Grok calls no tools, so in the modes that want JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from transports.simulator import Style

from .running import run_python
from .stand import Stand

pytestmark = pytest.mark.heavy
BLUE = {"name": "blue", "shades": ["navy"]}


def test_guide_and_more(stand: Stand, tmp_path: Path) -> None:
    stand.simulator.site.style = Style(text='{"name": "blue"}')
    printed, seen = run_python(tmp_path, "instructor", "instructor_more.py", stand)
    assert printed == "blue"
    assert seen == {
        "retried": BLUE,
        "partial": BLUE,
        "iterable": ["blue", "green"],
        "failed": "InstructorRetryException",
        "fenced": BLUE,
        "async": BLUE,
    }
    assert '"title":"Colour"' in stand.questions[-1].body["message"].replace(": ", ":")

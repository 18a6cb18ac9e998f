"""Mistakes of a program's own, in what it has written."""

from __future__ import annotations

import re

_MARKS = re.compile(r'Traceback \(most recent|"exc_type"|our own fault')
"""A log that is read by programs has no tracebacks as people know them: they are objects in it."""


def find_traceback(written: str) -> str:
    """The line where the first one begins, and what follows; empty where there is none."""
    mark = _MARKS.search(written)
    return "" if mark is None else written[written.rfind("\n", 0, mark.start()) + 1 :][:5000]

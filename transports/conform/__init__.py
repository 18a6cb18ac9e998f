"""Does a server speak OpenAI's API as its clients expect? `grokproto conform URL` finds out.

For any server: the checks are what clients rely on, and each says what it saw. Those that go beyond
what most clients need are marked so. They ask some forty questions, short ones, all by a plain
client over plain sockets, which believes nothing that it has not read.

    target = Target("http://127.0.0.1:3000/v1", key="sk-123456789", model="grok-3")
    for result in run_checks(target):
        print(result.outcome, result.check.name, result.seen)
"""

from __future__ import annotations

from .admission import find_refusal
from .plain_http import UnreachableError
from .running import Check, Level, Outcome, Result
from .suite import CHECKS, run_checks
from .target import Target

__all__ = [
    "CHECKS",
    "Check",
    "Level",
    "Outcome",
    "Result",
    "Target",
    "UnreachableError",
    "find_refusal",
    "run_checks",
]

"""All checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .basic import BASIC
from .beyond import BEYOND
from .running import Check, Result, run_check
from .target import Target

CHECKS: tuple[Check, ...] = (*BASIC, *BEYOND)


def run_checks(target: Target, checks: Iterable[Check] = CHECKS) -> Iterator[Result]:
    """Run checks, one after the other.

    Args:
        target: The server.
        checks: Which.

    Raises:
        UnreachableError: The server cannot be reached.
    """
    for check in checks:
        yield run_check(check, target)

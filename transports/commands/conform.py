"""`grokproto conform`: the checks of a server, as a table."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase

import click

from grokproto.errors import ConfigurationError

from ..conform import (
    CHECKS,
    Check,
    Level,
    Outcome,
    Result,
    Target,
    UnreachableError,
    find_refusal,
    run_checks,
)
from .amounts import PATIENCE
from .ending import stop

_MARKS = {Outcome.PASSED: "ok  ", Outcome.FAILED: "FAIL", Outcome.SKIPPED: "--  "}
_WIDTH = max(len(check.name) for check in CHECKS)
_SEEN = 100
"""Characters of what was seen that a line of the table has room for."""


@click.command("conform")
@click.argument("url")
@click.option("--key", help="The API key; without one, none is sent.")
@click.option("--model", help="The model to ask; the first that is listed by default.")
@click.option("--basic", is_flag=True, help="Only what nearly every client needs.")
@click.option("--only", multiple=True, help="Only checks of this name; * stands for anything.")
@click.option(
    "--timeout",
    type=PATIENCE,
    default=60.0,
    show_default=True,
    help="Seconds to wait for anything.",
)
@click.option("--json", "as_json", is_flag=True, help="One object a line.")
@click.option("--list", "listed", is_flag=True, help="List the checks, and run none.")
def conform_command(
    url: str,
    key: str | None,
    model: str | None,
    basic: bool,
    only: tuple[str, ...],
    timeout: float,
    as_json: bool,
    listed: bool,
) -> None:
    """Find out whether a server speaks OpenAI's API as its clients expect.

    URL is the base of its API, such as http://127.0.0.1:3000/v1. Some fifty short questions are
    asked. Exit code 1 where a check fails, or where the server does not take the key or the model,
    which is said instead.
    """
    checks = _choose(basic, only)
    if listed:
        for check in checks:
            click.echo(f"{check.level.value:6}  {check.name:{_WIDTH}}  {check.about}.")
        return
    results: list[Result] = []
    try:
        target = Target(url, key=key, model=model, timeout=timeout)
        refusal = find_refusal(target)
        if refusal is not None:
            stop(refusal, 1)
        for result in run_checks(target, checks):
            results.append(result)
            click.echo(_encode(result) if as_json else _tell(result))
    except UnreachableError as exc:
        stop(str(exc), 1)
    if not as_json:
        click.echo(_sum_up(results))
    sys.exit(1 if any(result.outcome is Outcome.FAILED for result in results) else 0)


def _choose(basic: bool, only: Sequence[str]) -> list[Check]:
    """The checks to run.

    Raises:
        ConfigurationError: A name is none's; that nothing fails then would be no good sign.
    """
    checks = [check for check in CHECKS if check.level is Level.BASIC or not basic]
    for pattern in only:
        if not any(fnmatchcase(check.name, pattern) for check in checks):
            kind = "basic check" if basic else "check"
            raise ConfigurationError(
                f"no {kind} has the name {pattern!r}; --list shows their names"
            )
    return [
        check
        for check in checks
        if not only or any(fnmatchcase(check.name, pattern) for pattern in only)
    ]


def _encode(result: Result) -> str:
    check = result.check
    return json.dumps(
        {
            "check": check.name,
            "level": check.level.value,
            "about": check.about,
            "outcome": result.outcome.value,
            "seen": result.seen,
            "seconds": round(result.seconds, 3),
        }
    )


def _tell(result: Result) -> str:
    check = result.check
    seen = _make_printable(" ".join(result.seen.split()))
    if len(seen) > _SEEN and result.outcome is not Outcome.FAILED:
        seen = f"{seen[: _SEEN - 3]}..."
    line = f"{_MARKS[result.outcome]}  {check.level.value:6}  {check.name:{_WIDTH}}  {seen}"
    if result.outcome is Outcome.FAILED:
        line += f"\n{'':{_WIDTH + 16}}wanted: {check.about}."
    return line


def _make_printable(text: str) -> str:
    """A text with what would move a terminal, or cannot be written at all, as Python writes it."""
    return "".join([each if each.isprintable() else ascii(each)[1:-1] for each in text])


def _sum_up(results: list[Result]) -> str:
    parts: list[str] = []
    for level in Level:
        found = Counter(result.outcome for result in results if result.check.level is level)
        ran = found[Outcome.PASSED] + found[Outcome.FAILED]
        if ran:
            parts.append(f"{level.value} {found[Outcome.PASSED]} of {ran}")
    skipped = sum(result.outcome is Outcome.SKIPPED for result in results)
    return f"passed: {', '.join(parts) or 'none'}" + (f"; skipped {skipped}" if skipped else "")

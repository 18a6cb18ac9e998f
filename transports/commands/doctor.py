"""`grokproto doctor`: what `examination` finds, line by line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import attrs
import click
import trio
from msgspec.structs import replace

from grokproto.credentials import Kind, lease_own

from ..config import Config
from .credentials import look
from .ending import env_file_option
from .examination import Account, Finding, Level, examine


@click.command("doctor")
@click.option("--credentials", is_flag=True, help="Ask Grok about each account too.")
@click.option("--json", "as_json", is_flag=True, help="One object a line.")
@env_file_option
def doctor_command(credentials: bool, as_json: bool, env_file: Path | None) -> None:
    """Find out what is wrong. Exit code 1 where something is."""
    marks = {Level.OK: "ok      ", Level.WARNING: "warning ", Level.PROBLEM: "PROBLEM "}

    def show(finding: Finding) -> None:
        if as_json:
            fields = attrs.asdict(finding)
            click.echo(json.dumps({**fields, "level": finding.level.value}))
        else:
            step = f" {finding.next_step}" if finding.next_step else ""
            click.echo(f"{marks[finding.level]}{finding.check}: {finding.sentence}{step}")

    async def run() -> bool:
        well = True
        async for finding in examine(
            None,
            env_file,
            accounts=_find_accounts,
            with_credentials=credentials,
        ):
            show(finding)
            well &= finding.level is Level.OK
        return well

    sys.exit(0 if trio.run(run) else 1)


def _find_accounts(config: Config) -> list[Account]:
    with look(config) as scheduler:
        return [
            Account(
                replace(lease_own(record.cookies, "grok-3"), credential=record.name),
                None if record.disabled is None else record.disabled.reason,
            )
            for record in scheduler.pool.snapshot()
            if record.kind is Kind.ACCOUNT
        ]

"""`grokproto simulate`: would so many accounts do?"""

from __future__ import annotations

import json
import random
from typing import IO

import attrs
import click

from grokproto.credentials import PoolSettings, Quotas, Rotation, parse_quotas
from grokproto.errors import ConfigurationError
from grokproto.models import ModelTable

from . import virtual_time
from .amounts import SECONDS, Amount

_COUNT = click.IntRange(1, 10_000)
_MAX_REQUESTS = 2_000_000
"""At the rate, which take about a minute."""


@click.command("simulate")
@click.option("--accounts", type=_COUNT, default=3, show_default=True, help="How many there are.")
@click.option(
    "--rate", type=Amount(0.001, 1e9), default=60.0, show_default=True, help="Requests an hour."
)
@click.option("--hours", type=Amount(0.001, 1e6), default=24.0, show_default=True, help="How long.")
@click.option(
    "--log",
    # What is no text is no line of ours.
    type=click.File("r", encoding="utf-8", errors="replace"),
    help="An access log, instead of a rate.",
)
@click.option("--model", default="grok-3", show_default=True, help="What is asked for.")
@click.option("--quotas", help="As QUOTAS has them.")
@click.option("--rotation", type=click.Choice([r.value for r in Rotation]), default="balanced")
@click.option(
    "--concurrency",
    type=_COUNT,
    default=4,
    show_default=True,
    help="Calls at once with an account.",
)
@click.option(
    "--call-seconds", type=SECONDS, default=8.0, show_default=True, help="How long a call takes."
)
@click.option(
    "--wait", type=SECONDS, default=10.0, show_default=True, help="How long a request waits."
)
@click.option("--seed", default=1, show_default=True, help="Makes chance repeatable.")
@click.option("--json", "as_json", is_flag=True)
def simulate_command(
    accounts: int,
    rate: float,
    hours: float,
    log: IO[str] | None,
    model: str,
    quotas: str | None,
    rotation: str,
    concurrency: int,
    call_seconds: float,
    wait: float,
    seed: int,
    as_json: bool,
) -> None:
    """Would so many accounts do? The pool alone, in virtual time."""
    models = ModelTable()
    if model not in models:
        raise ConfigurationError(f"--model {model!r} is no model")
    if log is None and rate * hours > _MAX_REQUESTS:
        raise ConfigurationError(
            f"--rate and --hours make {rate * hours:.0f} requests; {_MAX_REQUESTS} are simulated "
            "at most"
        )
    chance = random.Random(seed)  # noqa: S311 - a simulation, not a secret
    group = models[model].group
    settings = PoolSettings(
        rotation=Rotation(rotation),
        concurrency=concurrency,
        quotas=_read_quotas(quotas or ""),
    )
    arrivals = (
        virtual_time.arrive_at_rate(rate, hours, group, chance)
        if log is None
        else virtual_time.arrive_as_logged(log, group, models)
    )
    report = virtual_time.run(
        arrivals,
        accounts=accounts,
        settings=settings,
        call_seconds=call_seconds,
        wait=wait,
        chance=chance,
    )
    if as_json:
        click.echo(json.dumps({**attrs.asdict(report), "fairness": report.fairness}))
    else:
        click.echo(virtual_time.tell(report))


def _read_quotas(text: str) -> Quotas:
    try:
        return parse_quotas(text)
    except ConfigurationError as exc:
        raise ConfigurationError(f"--quotas {exc}") from exc

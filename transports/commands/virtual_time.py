"""`grokproto simulate`: the pool alone, in virtual time.

How many accounts does my traffic need? Requests come at a rate or from an access log, calls take a
while, and the very pool that serves real calls decides. Nothing is sent anywhere and nothing waits:
a day of traffic takes a moment.
"""

from __future__ import annotations

import heapq
import json
import random
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from datetime import datetime

import attrs

from grokproto.credentials import CredentialPool, PoolSettings
from grokproto.errors import ConfigurationError
from grokproto.lease import Lease, Outcome
from grokproto.models import ModelTable
from grokproto.secret import Secret

_COMMON_LOG = re.compile(r"\[(\d{2}/\w{3}/\d{4}:\d{2}:\d{2}:\d{2} [+-]\d{4})\]")


@attrs.frozen
class Arrival:
    """A request that comes."""

    time: float
    """Seconds since the first."""
    group: str


@attrs.frozen
class Report:
    """What came of it."""

    requests: int
    served: int
    refused: int
    waited: int
    """Of those served, how many waited for a busy credential."""

    longest_wait: float
    """Seconds."""

    median_wait: float
    """Of those that waited, seconds."""

    first_refusal: float | None
    """Seconds after the start: when the pool first ran dry."""

    refused_hours: int
    """Hours in which a request was refused."""

    calls: dict[str, int]
    """By credential, the one with most first."""

    seconds: float
    """The time simulated."""

    @property
    def fairness(self) -> float:
        """Calls of the least used credential over those of the most used one; 1 is fair."""
        return min(self.calls.values(), default=0) / (max(self.calls.values(), default=0) or 1)


def arrive_at_rate(
    per_hour: float, hours: float, group: str, chance: random.Random
) -> Iterator[Arrival]:
    """Requests that come at random, at this rate."""
    now = 0.0
    while (now := now + chance.expovariate(per_hour / 3600.0)) < hours * 3600.0:
        yield Arrival(now, group)


def arrive_as_logged(lines: Iterable[str], group: str, models: ModelTable) -> Iterator[Arrival]:
    """Requests as an access log has them: our own (JSON) or the common format of web servers.

    Raises:
        ConfigurationError: No line of the log tells a time.
    """
    found: list[Arrival] = []
    for line in lines:
        moment, model = _read_line(line)
        if moment is not None:
            row = models.get(model) if model else None
            found.append(Arrival(moment, row.group if row else group))
    if not found:
        raise ConfigurationError("no line of the log tells when a request came")
    found.sort(key=lambda arrival: arrival.time)
    for arrival in found:
        yield attrs.evolve(arrival, time=arrival.time - found[0].time)


def _read_line(line: str) -> tuple[float | None, str | None]:
    """When a request came, as Unix time, and which model it asked for, where a line tells."""
    try:
        common = _COMMON_LOG.search(line)
        if common is not None:
            moment = datetime.strptime(common[1], "%d/%b/%Y:%H:%M:%S %z")
            return (moment.timestamp() if "/chat/completions" in line else None), None
        fields = json.loads(line)
        if fields.get("event") != "request" or "completions" not in str(fields.get("path")):
            return None, None
        model = fields.get("model")
        moment = datetime.fromisoformat(fields["timestamp"].replace("Z", "+00:00"))
        return moment.timestamp(), model if isinstance(model, str) else None
    except (ValueError, OverflowError, AttributeError, KeyError, TypeError, RecursionError):
        return None, None  # a line may be anything, also a time that there was not


def run(
    arrivals: Iterable[Arrival],
    *,
    accounts: int,
    settings: PoolSettings,
    call_seconds: float,
    wait: float,
    chance: random.Random,
) -> Report:
    """Let the requests come, and see.

    Args:
        arrivals: In order.
        accounts: How many credentials there are.
        settings: Of the pool.
        call_seconds: How long a call takes on the average.
        wait: How long a request waits for a busy credential.
        chance: Makes calls differ.
    """
    pool = CredentialPool(settings)
    for number in range(accounts):
        pool.add({"sso": Secret(f"simulated-{number}")})
    calls: Counter[str] = Counter({status.name: 0 for status in pool.status(0.0)})
    ends: list[tuple[float, int, Lease]] = []
    waiting: deque[Arrival] = deque()
    waits: list[float] = []
    refusals: list[float] = []
    total = 0
    now = 0.0

    def try_to_serve(arrival: Arrival) -> bool | None:
        """Whether it is served; None where waiting may help."""
        granted = pool.acquire(arrival.group, now)
        if isinstance(granted, Lease):
            calls[granted.credential] += 1
            length = chance.expovariate(1 / call_seconds) if call_seconds else 0.0
            heapq.heappush(ends, (now + length, granted.serial, granted))
            if now > arrival.time:
                waits.append(now - arrival.time)
            return True
        return None if granted.waiting else False

    def end_calls_until(moment: float) -> None:
        nonlocal now
        while ends and ends[0][0] <= moment:
            now, _, lease = heapq.heappop(ends)
            pool.release(lease, Outcome.SERVED, now)
            while waiting:
                if now - waiting[0].time > wait:
                    refusals.append(waiting.popleft().time + wait)
                elif try_to_serve(waiting[0]):
                    waiting.popleft()
                else:
                    break
        now = moment

    for arrival in arrivals:
        total += 1
        end_calls_until(arrival.time)
        served = None if waiting else try_to_serve(arrival)
        if served is None and wait > 0:
            waiting.append(arrival)
        elif not served:
            refusals.append(now)
    end_calls_until(max([now, *(end for end, _, _ in ends)]))
    refusals += [arrival.time + wait for arrival in waiting]
    waits.sort()
    return Report(
        requests=total,
        served=total - len(refusals),
        refused=len(refusals),
        waited=len(waits),
        longest_wait=waits[-1] if waits else 0.0,
        median_wait=waits[len(waits) // 2] if waits else 0.0,
        first_refusal=min(refusals, default=None),
        refused_hours=len({int(moment // 3600) for moment in refusals}),
        calls=dict(calls.most_common()),
        seconds=now,
    )


def tell(report: Report) -> str:
    """A report for people."""
    hours = report.seconds / 3600
    served = f"{report.served} served, {report.refused} refused"
    lines = [f"{report.requests} requests in {hours:.1f} hours: {served}."]
    if report.waited:
        lines.append(
            f"{report.waited} waited for a busy account, half of them under "
            f"{report.median_wait:.1f} s, none over {report.longest_wait:.1f} s."
        )
    else:
        lines.append("None waited for a busy account.")
    if report.first_refusal is None:
        lines.append("The accounts never ran dry.")
    else:
        lines.append(
            f"The accounts ran dry after {report.first_refusal / 3600:.1f} hours; requests were "
            f"refused in {report.refused_hours} of the hours."
        )
    most = max(report.calls.values(), default=0)
    least = min(report.calls.values(), default=0)
    lines.append(f"Calls by account: from {least} to {most}, fairness {report.fairness:.2f}.")
    return "\n".join(lines)

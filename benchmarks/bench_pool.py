"""What does a call cost the pool, as the pool grows? `python -m benchmarks.bench_pool`

One call is an `acquire`, the draining of what must be written, and a `release`. Every tenth is
given back unused, every hundredth limits its group for a while, and every seventh comes with an
exclusion; 20 calls are in flight at a time. The time of a call is the median of rounds in which
the sizes take turns, in CPU; only the ratios to the smallest pool mean anything.
"""

from __future__ import annotations

import gc
import platform
import statistics
import time
from collections import deque
from importlib.metadata import version

from grokproto.credentials import (
    Allowance,
    CredentialPool,
    PoolSettings,
    Quotas,
    Rotation,
    parse_account,
)
from grokproto.failures import Failure, FailureKind
from grokproto.lease import Lease, Outcome

SIZES = (100, 10_000, 100_000)
CALLS = 3000
ROUNDS = 7
IN_FLIGHT = 20
LIMITED = Failure(FailureKind.RATE_LIMITED, "Used up.", retry_after=5.0)


class Load:
    """A pool at work."""

    def __init__(self, size: int, rotation: Rotation) -> None:
        quotas = Quotas({"grok-3": Allowance(1000, 7200.0)})
        self.pool = CredentialPool(PoolSettings(rotation, quotas=quotas))
        for number in range(size):
            self.pool.add(parse_account(f"token-{number}"))
        self.held: deque[Lease] = deque()
        self.now = 1_700_000_000.0
        self.calls = 0

    def run(self, calls: int) -> float:
        """Make calls; the seconds that each took."""
        pool, held = self.pool, self.held
        started = time.process_time()
        for _ in range(calls):
            self.calls += 1
            self.now += 0.01
            exclude = frozenset({held[-1].credential}) if self.calls % 7 == 0 else frozenset()
            lease = pool.acquire("grok-3", self.now, exclude)
            assert isinstance(lease, Lease)
            pool.changes()
            held.append(lease)
            if len(held) > IN_FLIGHT:
                oldest = held.popleft()
                if self.calls % 100 == 0:
                    pool.release(oldest, Outcome.LIMITED, self.now, LIMITED)
                elif self.calls % 10 == 0:
                    pool.release(oldest, Outcome.UNUSED, self.now)
                else:
                    pool.release(oldest, Outcome.SERVED, self.now)
        return (time.process_time() - started) / calls


def main() -> None:
    """Print the table."""
    print(
        f"Python {platform.python_version()}, attrs {version('attrs')}, "
        f"{CALLS} calls a round, median of {ROUNDS} rounds"
    )
    print(f"{'rotation':12}" + "".join(f"{size:>22,}" for size in SIZES))
    for rotation in Rotation:
        loads = [Load(size, rotation) for size in SIZES]
        gc.collect()
        gc.freeze()  # the collector walks what lives, and a large pool is a lot of it
        for load in loads:
            load.run(200)
        rounds = [[load.run(CALLS) for load in loads] for _ in range(ROUNDS)]
        gc.unfreeze()
        medians = [statistics.median(times) for times in zip(*rounds, strict=True)]
        cells = [f"{median * 1e6:8.1f} us = {median / medians[0]:5.2f} x" for median in medians]
        print(f"{rotation.value:12}" + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    main()

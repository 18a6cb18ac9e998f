"""Guests under any order of calls, fetches, outcomes and times: the bounds on them hold."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from grokproto.credentials import (
    GUEST_GROUP,
    Allowance,
    CredentialPool,
    GuestSettings,
    Kind,
    PoolSettings,
    Quotas,
    State,
    parse_account,
    parse_guest,
)
from grokproto.lease import Lease, Outcome

START = 1_700_000_000.0
INTERVAL, PAUSE = 30.0, 600.0
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["ask", "ask", "fetch", "arrive", "arrive", "fail"])),
        st.tuples(st.just("release"), st.sampled_from(Outcome), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 5.0, 29.0, 31.0, 700.0, 7300.0])),
        st.tuples(st.just("set back"), st.sampled_from([1.0, 1000.0])),
    ),
    max_size=120,
)


@settings(max_examples=300, deadline=None)
@given(level=st.integers(1, 3), calls=st.integers(1, 4), account=st.booleans(), steps=STEPS)
def test_bounds(level: int, calls: int, account: bool, steps: list[tuple[object, ...]]) -> None:
    quotas = Quotas({GUEST_GROUP: Allowance(calls, 7200.0)})
    guests = GuestSettings(level, INTERVAL, PAUSE)
    pool = CredentialPool(PoolSettings(quotas=quotas, guests=guests))
    if account:
        pool.add(parse_account("anna"))
    now, elapsed, last_failure = START, 0.0, -PAUSE
    fetched = under_way = number = 0
    held: list[Lease] = []
    for step in steps:
        match step:
            case ("ask",):
                granted = pool.acquire(GUEST_GROUP, now)
                if isinstance(granted, Lease):
                    held.append(granted)
            case ("fetch",):
                wanted = pool.guests_wanted(now)
                if wanted:
                    assert elapsed - last_failure >= PAUSE, "the site was to be left alone"
                fetched += wanted
                under_way += wanted
            case ("arrive" | "fail" as what,):
                if under_way:
                    under_way -= 1
                    if what == "fail":
                        pool.guests_unavailable("it gives none", now)
                        last_failure = elapsed
                    else:
                        number += 1
                        last_failure = -PAUSE  # it gives some after all
                        pool.add_guest(
                            parse_guest(f"x-anonuserid={number}; x-challenge=c; x-signature=s"), now
                        )
            case ("release", Outcome() as outcome, int() as which):
                if held:
                    pool.release(held.pop(which % len(held)), outcome, now)
            case ("wait", float() as seconds):
                now += seconds
                elapsed += seconds
            case ("set back", float() as seconds):
                now -= seconds
        status = {each.name: each for each in pool.status(now)}
        of_guests = [lease for lease in held if "sso" not in lease.cookies]
        assert len(of_guests) <= level
        assert fetched <= level + elapsed / INTERVAL + 1e-6
        assert under_way <= level
        for each in status.values():
            # Guests that Grok knows no more are forgotten, and only an account can be disabled.
            assert each.state is not State.DISABLED or each.kind is Kind.ACCOUNT
            assert each.in_flight == sum(lease.credential == each.name for lease in held)
        assert sum(each.kind is Kind.GUEST for each in status.values()) <= 2 * level

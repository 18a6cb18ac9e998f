"""`grokproto.credentials.guests` in a pool: who serves grok-2, and when new ones are wanted."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from grokproto.credentials import (
    GUEST_GROUP,
    Allowance,
    Cause,
    CredentialPool,
    GuestSettings,
    Kind,
    Origin,
    PoolSettings,
    Quotas,
    Refusal,
    parse_account,
    parse_guest,
)
from grokproto.failures import Failure, FailureKind
from grokproto.lease import Lease, Outcome
from grokproto.secret import Secret

NOW = 1_700_000_000.0
SETTINGS = PoolSettings(
    quotas=Quotas({GUEST_GROUP: Allowance(3, 7200)}),
    guests=GuestSettings(level=2, interval=30, pause=600),
)


def guest(number: int) -> Mapping[str, Secret]:
    return parse_guest(f"x-anonuserid=u{number}; x-challenge=c; x-signature=s")


def make_pool(guests: int = 2, *tokens: str, settings: PoolSettings = SETTINGS) -> CredentialPool:
    pool = CredentialPool(settings)
    pool.guests_wanted(NOW)
    for number in range(guests):
        pool.add_guest(guest(number), NOW)
    for token in tokens:
        pool.add(parse_account(token))
    return pool


def take(pool: CredentialPool, now: float = NOW, group: str = GUEST_GROUP) -> Lease:
    lease = pool.acquire(group, now)
    assert isinstance(lease, Lease), lease
    return lease


def refused(
    pool: CredentialPool, now: float = NOW, exclude: frozenset[str] = frozenset()
) -> Refusal:
    refusal = pool.acquire(GUEST_GROUP, now, exclude)
    assert isinstance(refusal, Refusal), refusal
    return refusal


def spend(pool: CredentialPool, calls: int, now: float = NOW) -> None:
    for _ in range(calls):
        pool.release(take(pool, now), Outcome.SERVED, now)


def test_guests_serve_grok_2_only() -> None:
    pool = make_pool(2, "account")
    lease = take(pool)
    assert set(lease.cookies) == {"x-anonuserid", "x-challenge", "x-signature"}
    assert lease.credential == f"guest-{guest(0)['x-anonuserid'].fingerprint}"
    account = take(pool, group="grok-3")
    assert set(account.cookies) == {"sso", "sso-rw"}
    assert pool.guests_wanted(NOW) == 0
    pool.remove(account.credential)
    assert take(pool).credential != lease.credential


def test_without_guests_accounts_serve_grok_2() -> None:
    pool = make_pool(1, "account", settings=replace(SETTINGS, guests=None))
    assert set(take(pool).cookies) == {"sso", "sso-rw"}
    assert pool.guests_wanted(NOW) == 0
    pool.guests_unavailable("nobody asked", NOW)
    assert pool.next_change(GUEST_GROUP, NOW) is None
    pool.remove(take(pool).credential)
    assert refused(pool).message.startswith("This server has no account")


def test_calls_at_once_are_bounded_over_all_guests() -> None:
    pool = make_pool(0)
    for number in range(5):
        pool.add_guest(guest(number), NOW, Origin.CONFIGURED)
    first, _ = take(pool), take(pool)
    refusal = refused(pool)
    assert (refusal.waiting, refusal.retry_after, refusal.busy) == (True, 5.0, 5)
    assert refusal.message.startswith("All 2 guest calls")
    # A request that has tried all of them need not wait in line.
    tried = frozenset(shown.name for shown in pool.status(NOW))
    assert not refused(pool, exclude=tried).waiting
    pool.release(first, Outcome.SERVED, NOW)
    take(pool)


def test_as_many_as_there_are_places_are_wanted_once() -> None:
    pool = CredentialPool(SETTINGS)
    assert pool.guests_wanted(NOW) == 2
    assert pool.guests_wanted(NOW) == 0
    refusal = refused(pool)
    assert (refusal.waiting, refusal.retry_after) == (True, 5.0)
    assert "a new one is asked for now" in refusal.message
    assert pool.add_guest(guest(0), NOW)[1]
    assert pool.guests_wanted(NOW) == 0


def test_used_up_guest_is_replaced_at_a_bounded_rate() -> None:
    pool = make_pool(2)
    spend(pool, 6)
    refusal = refused(pool)
    assert (refusal.waiting, refusal.retry_after, refusal.cooling) == (False, 30.0, 2)
    assert "in 30 s" in refusal.message
    assert pool.guests_wanted(NOW + 29) == 0
    assert pool.guests_wanted(NOW + 30) == 1
    pool.add_guest(guest(2), NOW + 30)
    assert len(pool) == 2  # one of the two has made room
    spend(pool, 3, NOW + 30)
    assert pool.guests_wanted(NOW + 30) == 0
    assert pool.guests_wanted(NOW + 10_000) == 0  # they are good again by now
    take(pool, NOW + 10_000)


def test_wanted_after_a_long_time_and_after_a_step_back() -> None:
    pool = make_pool(2)
    spend(pool, 6)
    assert pool.guests_wanted(NOW - 5000) == 0
    assert pool.guests_wanted(NOW - 4970) == 1
    assert pool.guests_wanted(NOW - 3000) == 1  # the other is on its way


def test_guest_of_the_operator_is_kept() -> None:
    pool = CredentialPool(SETTINGS)
    for number in range(2):
        pool.add_guest(guest(number), NOW, Origin.CONFIGURED)
    spend(pool, 6)
    assert pool.guests_wanted(NOW) == 2
    for number in (2, 3):
        pool.add_guest(guest(number), NOW)
    assert len(pool) == 4
    assert pool.next_change(GUEST_GROUP, NOW) == 7200


def test_guest_with_a_limit_is_replaced() -> None:
    pool = make_pool(2)
    pool.release(take(pool), Outcome.LIMITED, NOW)
    assert pool.guests_wanted(NOW + 30) == 1


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.BLOCKED])
def test_dead_guest_goes(outcome: Outcome) -> None:
    pool = make_pool(1)
    pool.release(take(pool), outcome, NOW)
    assert len(pool) == 0
    configured, _ = pool.add_guest(guest(7), NOW, Origin.CONFIGURED)
    failure = Failure(FailureKind.UNAUTHORIZED, "Unknown guest.")
    pool.release(take(pool), outcome, NOW, failure)
    shown = pool.describe(configured, NOW)
    assert shown is not None
    assert shown.reason == "Unknown guest."
    assert shown.cause in (Cause.REFUSED, Cause.BLOCKED)
    assert shown.kind is Kind.GUEST


def test_guest_dropped_while_lent_out() -> None:
    pool = make_pool(2)
    lease = take(pool)
    assert pool.remove(lease.credential)
    other = take(pool)
    assert refused(pool).message.startswith("All 2 guest calls")
    pool.release(lease, Outcome.BLOCKED, NOW)
    pool.release(other, Outcome.SERVED, NOW)
    take(pool)


def test_site_gives_none_and_accounts_take_over() -> None:
    pool = make_pool(0, "account")
    pool.guests_unavailable("it sets no guest cookies", NOW)
    lease = take(pool)
    assert set(lease.cookies) == {"sso", "sso-rw"}
    spend(pool, 2)
    assert refused(pool).message.startswith("None of the accounts")
    assert pool.next_change(GUEST_GROUP, NOW) == 7200


def test_guests_there_are_come_first_even_then() -> None:
    pool = make_pool(1, "account")
    pool.guests_unavailable("it sets no guest cookies", NOW)
    spend(pool, 3)
    assert take(pool).cookies.keys() == {"sso", "sso-rw"}


def test_waiting_for_a_guest_may_help_when_accounts_are_used_up() -> None:
    pool = make_pool(2, "account")
    pool.guests_unavailable("it sets no guest cookies", NOW)
    take(pool)
    take(pool)
    for _ in range(3):
        assert take(pool).cookies.keys() == {"sso", "sso-rw"}
    assert refused(pool).waiting


def test_site_gives_none_and_there_is_no_account() -> None:
    pool = make_pool(0)
    pool.guests_unavailable("it sets no guest cookies", NOW)
    refusal = refused(pool)
    assert refusal.helpless
    assert "it sets no guest cookies" in refusal.message
    assert "GUEST_SESSIONS" in refusal.message


def test_site_is_asked_again_after_a_pause() -> None:
    pool = make_pool(0)
    for _ in range(2):
        pool.guests_unavailable("it sets no guest cookies", NOW)
    assert pool.guests_wanted(NOW + 599) == 0
    assert pool.guests_wanted(NOW + 600) == 1  # one is enough to find out
    assert pool.guests_wanted(NOW + 600) == 0
    pool.add_guest(guest(1), NOW + 601)
    assert pool.guests_wanted(NOW + 601) == 1
    take(pool, NOW + 601)


def test_pause_and_clock_steps() -> None:
    pool = make_pool(0)
    for _ in range(2):
        pool.guests_unavailable("it sets no guest cookies", NOW)
    assert pool.guests_wanted(NOW - 86_400) == 0
    assert pool.guests_wanted(NOW - 86_400 + 600) == 1

"""`grokproto.credentials.pool`: what a call costs, what an outcome does, why there is none."""

from __future__ import annotations

import pytest

from grokproto.credentials import (
    Allowance,
    Cause,
    CredentialPool,
    CredentialStatus,
    Origin,
    PoolSettings,
    Quotas,
    Refusal,
    Rotation,
    State,
    parse_account,
)
from grokproto.credentials.retries import IN_HAND
from grokproto.errors import LocalProtocolError
from grokproto.events import NoCredential
from grokproto.failures import Failure, FailureKind
from grokproto.lease import Lease, Outcome, Quota

NOW = 1_700_000_000.0
QUOTAS = Quotas({"small": Allowance(2, 100), "large": Allowance(50, 1000)}, Allowance(3, 10))


def make_pool(*tokens: str, **settings: object) -> CredentialPool:
    pool = CredentialPool(PoolSettings(**{"quotas": QUOTAS, **settings}))  # type: ignore[arg-type]
    for token in tokens:
        pool.add(parse_account(token))
    return pool


def name(token: str) -> str:
    return parse_account(token)["sso"].fingerprint


def take(
    pool: CredentialPool, group: str = "small", now: float = NOW, exclude: tuple[str, ...] = ()
) -> Lease:
    lease = pool.acquire(group, now, frozenset(exclude))
    assert isinstance(lease, Lease), lease
    return lease


def refused(
    pool: CredentialPool, group: str = "small", now: float = NOW, exclude: tuple[str, ...] = ()
) -> Refusal:
    refusal = pool.acquire(group, now, frozenset(exclude))
    assert isinstance(refusal, Refusal), refusal
    return refusal


def spend(pool: CredentialPool, calls: int, group: str = "small", now: float = NOW) -> None:
    for _ in range(calls):
        pool.release(take(pool, group, now), Outcome.SERVED, now)


def status(pool: CredentialPool, token: str = "a", now: float = NOW) -> CredentialStatus:
    found = pool.describe(name(token), now)
    assert found is not None
    return found


# Leases


def test_lease() -> None:
    pool = make_pool("a")
    lease = take(pool)
    assert lease.credential == name("a")
    assert lease.group == "small"
    assert {key: value.reveal() for key, value in lease.cookies.items()} == {
        "sso": "a",
        "sso-rw": "a",
    }
    assert take(pool).serial != lease.serial


def test_lease_is_given_back_once() -> None:
    pool, other = make_pool("a"), make_pool("a")
    lease, foreign = take(pool), take(other)
    assert lease == foreign
    before = pool.snapshot()
    with pytest.raises(LocalProtocolError, match="another pool"):
        pool.release(foreign, Outcome.BLOCKED, NOW)
    pool.release(lease, Outcome.SERVED, NOW)
    with pytest.raises(LocalProtocolError, match="given back before"):
        pool.release(lease, Outcome.UNUSED, NOW)
    assert pool.snapshot() == before
    assert status(pool).in_flight == 0


# Counting


def test_window_opens_with_its_first_call_and_refills_when_it_ends() -> None:
    pool = make_pool("a")
    spend(pool, 1, now=NOW)
    spend(pool, 1, now=NOW + 60)
    assert refused(pool, now=NOW + 60).retry_after == 40
    assert refused(pool, now=NOW + 99).retry_after == 1
    spend(pool, 2, now=NOW + 100)
    assert refused(pool, now=NOW + 100).retry_after == 100


def test_groups_are_counted_apart() -> None:
    pool = make_pool("a")
    spend(pool, 2)
    refused(pool)
    spend(pool, 3, "of-the-users")
    assert refused(pool, "of-the-users").retry_after == 10
    spend(pool, 50, "large")


def test_unused_call_comes_back_once() -> None:
    pool = make_pool("a")
    first, second = take(pool), take(pool)
    pool.release(first, Outcome.UNUSED, NOW)
    third = take(pool)
    refused(pool)
    pool.release(second, Outcome.SERVED, NOW)
    pool.release(third, Outcome.UNUSED, NOW)
    assert status(pool).groups[0].remaining == 1


def test_unused_call_does_not_come_back_into_a_later_window() -> None:
    pool = make_pool("a")
    late = take(pool)
    spend(pool, 2, now=NOW + 100)
    pool.release(late, Outcome.UNUSED, NOW + 101)
    refused(pool, now=NOW + 101)
    over = take(pool, now=NOW + 200)
    pool.release(over, Outcome.UNUSED, NOW + 300)  # its own window is over, too
    assert status(pool, now=NOW + 300).groups[0].remaining == 2


def test_call_that_never_was_opens_no_window() -> None:
    pool = make_pool("a")
    pool.release(take(pool), Outcome.UNUSED, NOW)
    assert status(pool).groups[0].window_end is None
    spend(pool, 2, now=NOW + 50)
    assert refused(pool, now=NOW + 50).retry_after == 100


@pytest.mark.parametrize("outcome", [Outcome.SERVED, Outcome.UNUSED])
@pytest.mark.parametrize("kind", FailureKind)
def test_fault_of_others_leaves_the_credential_alone(outcome: Outcome, kind: FailureKind) -> None:
    pool = make_pool("a")
    spend(pool, 1)
    failure = Failure(kind, "It broke.", retry_after=60)
    pool.release(take(pool), outcome, NOW, failure)
    assert status(pool).cause is None
    assert status(pool).groups[0].remaining == (outcome is Outcome.UNUSED)


# Limits


@pytest.mark.parametrize(("retry_after", "rest"), [(None, 90), (30.0, 30), (0.0, 1), (500.0, 500)])
def test_limit_cools_the_group_down(retry_after: float | None, rest: float) -> None:
    pool = make_pool("a")
    spend(pool, 1, now=NOW - 10)
    lease = take(pool)
    spend(pool, 1, "large")
    failure = Failure(FailureKind.RATE_LIMITED, "Grok is fed up.", retry_after)
    pool.release(lease, Outcome.LIMITED, NOW, failure)
    shown = status(pool)
    assert (shown.state, shown.cause) == (State.COOLING, None)
    assert shown.reason == "Grok is fed up." or retry_after == 0
    spend(pool, 1, "large")
    end = NOW + max(rest, 90)  # its count is used up as well
    assert shown.until == end
    assert refused(pool).retry_after == end - NOW


def test_limit_without_a_reason_lasts_to_the_end_of_the_window() -> None:
    pool = make_pool("a")
    lease = take(pool)
    pool.release(lease, Outcome.LIMITED, NOW + 30)
    assert status(pool, now=NOW + 30).reason == "Grok says that small is used up."
    assert refused(pool, now=NOW + 30).retry_after == 70
    spend(pool, 2, now=NOW + 100)


def test_limit_after_the_window_lasts_for_a_window() -> None:
    pool = make_pool("a")
    lease = take(pool)
    pool.release(lease, Outcome.LIMITED, NOW + 130)
    assert refused(pool, now=NOW + 130).retry_after == 100


def test_longest_limit_counts() -> None:
    pool = make_pool("a")
    first, second = take(pool), take(pool)
    for lease, seconds in ((first, 300.0), (second, 200.0)):
        failure = Failure(FailureKind.RATE_LIMITED, "Used up.", seconds)
        pool.release(lease, Outcome.LIMITED, NOW, failure)
    assert refused(pool).retry_after == 300


def test_short_limit_does_not_refill() -> None:
    pool = make_pool("a")
    lease = take(pool)
    pool.release(lease, Outcome.LIMITED, NOW, Failure(FailureKind.RATE_LIMITED, "Slow down.", 5))
    assert refused(pool).retry_after == 5
    spend(pool, 1, now=NOW + 5)
    assert refused(pool, now=NOW + 5).retry_after == 95


@pytest.mark.parametrize("seconds", [1e300, float("inf"), float("nan")])
def test_absurd_limit_ends(seconds: float) -> None:
    pool = make_pool("a")
    failure = Failure(FailureKind.RATE_LIMITED, "Never again.", seconds)
    pool.release(take(pool), Outcome.LIMITED, NOW, failure)
    spend(pool, 1, now=NOW + 32 * 86400)


# Quotas that Grok tells


def test_quota_is_asked_for_once_a_window_until_it_is_known() -> None:
    pool = make_pool("a")
    assert [take(pool).wants_quota for _ in range(2)] == [True, False]
    asked = take(pool, now=NOW + 100)
    assert asked.wants_quota
    pool.release(asked, Outcome.SERVED, NOW + 100, quota=Quota(1, 2, 100))
    assert not take(pool, now=NOW + 200).wants_quota


def test_quota_is_not_asked_for() -> None:
    assert not take(make_pool("a", quota_probe=False)).wants_quota


def test_quota_is_asked_for_again_when_grok_counts_otherwise() -> None:
    pool = make_pool("a")
    pool.release(take(pool), Outcome.SERVED, NOW, quota=Quota(4, 5, 100))
    pool.release(take(pool), Outcome.LIMITED, NOW)
    assert take(pool, now=NOW + 100).wants_quota


def test_quota_replaces_the_guess() -> None:
    pool = make_pool("a")
    pool.release(take(pool), Outcome.SERVED, NOW, quota=Quota(4, 5, 200))
    group = status(pool).groups[0]
    assert (group.remaining, group.total, group.known) == (4, 5, True)
    assert group.window_end == NOW + 200
    spend(pool, 4)
    assert refused(pool).retry_after == 200
    spend(pool, 5, now=NOW + 200)


def test_quota_and_calls_in_flight() -> None:
    pool = make_pool("a", concurrency=10)
    leases = [take(pool, "large") for _ in range(4)]
    # Ours holds what is in flight; whatever Grok has counted of it is no other's.
    pool.release(leases[0], Outcome.SERVED, NOW, quota=Quota(47, 50, 1000))
    assert status(pool).groups[0].remaining == 46
    # Others use the account: Grok may not have counted what is in flight.
    pool.release(leases[1], Outcome.SERVED, NOW, quota=Quota(30, 50, 1000))
    assert status(pool).groups[0].remaining == 28


def test_quota_used_up_with_a_wait() -> None:
    pool = make_pool("a")
    pool.release(take(pool), Outcome.SERVED, NOW, quota=Quota(0, 25, 7200, 2429))
    assert refused(pool).retry_after == 2429
    spend(pool, 25, now=NOW + 2429)


def test_quota_told_after_the_window() -> None:
    pool = make_pool("a")
    first, second = take(pool), take(pool)
    pool.release(first, Outcome.SERVED, NOW + 150, quota=Quota(3, 3, 100))
    assert status(pool, now=NOW + 150).groups[0].window_end is None
    pool.release(second, Outcome.SERVED, NOW + 150, quota=Quota(1, 3, 100))
    group = status(pool, now=NOW + 150).groups[0]
    assert (group.remaining, group.window_end) == (1, NOW + 250)


def test_quota_with_a_window_that_would_be_over() -> None:
    pool = make_pool("a")
    lease = take(pool)
    pool.release(lease, Outcome.SERVED, NOW + 60, quota=Quota(1, 3, 50))
    assert status(pool, now=NOW + 60).groups[0].window_end == NOW + 110


@pytest.mark.parametrize(
    "quota",
    [Quota(0, 0, 100), Quota(5, 5, 0), Quota(5, 5, float("nan")), Quota(5, 10**9, 100)],
)
def test_quota_that_cannot_be(quota: Quota) -> None:
    pool = make_pool("a")
    pool.release(take(pool), Outcome.SERVED, NOW, quota=quota)
    group = status(pool).groups[0]
    assert (group.total, group.known) == (2, False)


# Out of service


@pytest.mark.parametrize(
    ("outcome", "cause", "words"),
    [
        (Outcome.REFUSED, Cause.REFUSED, "Grok no longer knows the cookie."),
        (Outcome.BLOCKED, Cause.BLOCKED, "Grok has blocked the account."),
    ],
)
def test_write_off(outcome: Outcome, cause: Cause, words: str) -> None:
    pool = make_pool("a", "b")
    first, second, third = (take(pool, "large", exclude=(name("b"),)) for _ in range(3))
    pool.release(first, outcome, NOW)
    shown = status(pool)
    assert (shown.state, shown.cause, shown.reason) == (State.DISABLED, cause, words)
    assert shown.until is None
    # What else is out keeps the first reason.
    pool.release(second, Outcome.BLOCKED, NOW, Failure(FailureKind.BLOCKED, "Later."))
    assert status(pool).reason == words
    pool.release(third, Outcome.SERVED, NOW)
    assert (status(pool).reason, status(pool).in_flight) == (words, 0)
    assert take(pool).credential == name("b")


def test_write_off_tells_why() -> None:
    pool = make_pool("a")
    failure = Failure(FailureKind.UNAUTHORIZED, "Grok said 16 twice.")
    pool.release(take(pool), Outcome.REFUSED, NOW, failure)
    assert status(pool).reason == "Grok said 16 twice."
    refusal = refused(pool)
    assert (refusal.helpless, refusal.disabled, refusal.retry_after) == (True, 1, None)
    assert "1 is disabled" in refusal.message
    assert "operator" in refusal.message


def test_person_disables_and_enables() -> None:
    pool = make_pool("a", "b")
    take(pool)
    assert pool.disable(name("a"), "Mine, for now.", NOW)
    assert (status(pool).cause, status(pool).reason) == (Cause.OPERATOR, "Mine, for now.")
    assert take(pool, "large").credential == name("b")
    assert pool.enable(name("a"))
    assert pool.enable(name("a"))
    assert status(pool).state is State.READY
    assert take(pool, "large").credential == name("a")
    assert not pool.disable("nobody", "Why not.", NOW)
    assert not pool.enable("nobody")
    assert pool.describe("nobody", NOW) is None


# Coming and going


def test_add_and_remove() -> None:
    pool = make_pool("a")
    assert pool.add(parse_account("a")) == (name("a"), False)
    assert refused(pool, exclude=(name("a"), "nobody")).tried == 1
    assert pool.add(parse_account("b"), Origin.CONFIGURED) == (name("b"), True)
    assert take(pool, exclude=(name("a"),)).credential == name("b")
    assert pool.find(parse_account("sso=b; sso-rw=other")) == name("b")
    assert pool.remove(name("b"))
    assert not pool.remove(name("b"))
    assert pool.find(parse_account("b")) is pool.find({}) is None
    assert len(pool) == 1
    assert pool.describe(name("b"), NOW) is None
    with pytest.raises(LocalProtocolError):
        pool.add({})


def test_removed_while_lent_out() -> None:
    pool = make_pool("a")
    leases = [take(pool), take(pool)]
    pool.remove(name("a"))
    assert pool.changes().removed == (name("a"),)
    pool.release(leases[0], Outcome.BLOCKED, NOW)
    assert not pool.changes()
    assert refused(pool).message.startswith("This server has no account")
    # Added again it is the same account to Grok, and its calls are still counted.
    assert pool.add(parse_account("a"), Origin.CONFIGURED) == (name("a"), True)
    shown = status(pool)
    assert (shown.state, shown.in_flight, shown.origin) == (State.COOLING, 1, Origin.CONFIGURED)
    pool.release(leases[1], Outcome.UNUSED, NOW)
    assert take(pool).cookies["sso"].reveal() == "a"


def test_remove_before_anything_else() -> None:
    pool = make_pool("a", "b")
    assert pool.remove(name("a"))
    assert len(pool) == 1


def test_removed_credentials_are_forgotten_in_the_end() -> None:
    pool = make_pool()
    for number in range(300):
        added, _ = pool.add(parse_account(f"t{number}"))
        pool.release(take(pool, now=NOW + number), Outcome.SERVED, NOW + number)
        pool.remove(added)
    # All are over by now but those of the last 100 seconds.
    pool.add(parse_account("t0"))
    pool.add(parse_account("t290"))
    now = NOW + 300
    forgotten, remembered = pool.status(now)
    assert forgotten.groups == ()
    assert [group.remaining for group in remembered.groups] == [1]


def test_names_are_unique_though_fingerprints_are_not() -> None:
    seen: dict[str, str] = {}
    pairs = (
        (seen.setdefault(name(token), token), token)
        for token in (f"t{number}" for number in range(1_000_000))
    )
    first, second = next((one, two) for one, two in pairs if one != two)
    pool = make_pool()
    names = [pool.add(parse_account(token))[0] for token in (first, second)]
    assert names == [name(first), f"{name(first)}-2"]
    assert pool.remove(names[1])
    assert take(pool).cookies["sso"].reveal() == first


# Rotation


def test_balanced() -> None:
    pool = make_pool("a", "b")
    pool.release(take(pool), Outcome.SERVED, NOW, quota=Quota(4, 5, 100))
    assert [take(pool, now=NOW).credential for _ in range(2)] == [name("a")] * 2
    # As many left: the one used longest ago, in any group.
    assert take(pool).credential == name("b")
    assert take(pool).credential == name("a")


def test_balanced_looks_at_other_groups() -> None:
    pool = make_pool("a", "b")
    take(pool, "large", exclude=(name("b"),))
    assert take(pool, "small").credential == name("b")
    take(pool, "large", exclude=(name("a"),))
    assert take(pool, "of-the-users").credential == name("a")


def test_balanced_notices_a_refill() -> None:
    pool = make_pool("a", "b")
    take(pool, exclude=(name("b"),))
    take(pool, now=NOW + 50, exclude=(name("a"),))
    assert take(pool, now=NOW + 100).credential == name("a")


def test_round_robin() -> None:
    pool = make_pool("a", "b", "c", rotation=Rotation.ROUND_ROBIN)
    order = [take(pool, "large").credential for _ in range(6)]
    assert order == [name(token) for token in "abcabc"]


def test_fill_first() -> None:
    pool = make_pool("a", "b", rotation=Rotation.FILL_FIRST)
    leases = [take(pool) for _ in range(4)]
    assert [lease.credential for lease in leases] == [name(token) for token in "aabb"]
    pool.release(leases[0], Outcome.UNUSED, NOW)
    assert take(pool).credential == name("a")


def test_many_moves_leave_nothing_behind() -> None:
    pool = make_pool("a", "b")
    for _ in range(1000):
        pool.release(take(pool), Outcome.UNUSED, NOW)
    assert [take(pool).credential for _ in range(2)] == [name("a"), name("b")]


# Busy


def test_calls_in_flight_are_bounded_over_all_groups() -> None:
    pool = make_pool("a", concurrency=2)
    first = take(pool, "large")
    take(pool, "small")
    for group in ("large", "small", "of-the-users"):
        refusal = refused(pool, group)
        assert (refusal.busy, refusal.waiting, refusal.retry_after) == (1, True, 5.0)
        assert "1 is busy" in refusal.message
    shown = status(pool)
    assert (shown.state, shown.in_flight, shown.until) == (State.BUSY, 2, None)
    assert "2 calls" in str(shown.reason)
    pool.release(first, Outcome.SERVED, NOW)
    take(pool, "small")


def test_busy_in_another_group() -> None:
    pool = make_pool("a", "b", concurrency=1)
    refused(pool, exclude=(name("a"), name("b")))  # both stand ready in this group
    take(pool, "large")
    assert take(pool).credential == name("b")


# Refusals


def test_nobody() -> None:
    refusal = refused(make_pool())
    assert refusal.helpless
    assert "SSO" in refusal.message
    assert refusal.as_event() == NoCredential(refusal.message, None, busy=False)


def test_refusal_counts() -> None:
    pool = make_pool("a", "b", "c", "d", concurrency=1)
    pool.release(take(pool), Outcome.LIMITED, NOW, Failure(FailureKind.RATE_LIMITED, "No.", 3000))
    pool.release(take(pool), Outcome.BLOCKED, NOW)
    take(pool)
    refusal = refused(pool, exclude=(name("d"), name("a")))
    counts = (refusal.cooling, refusal.disabled, refusal.busy, refusal.tried)
    assert counts == (1, 1, 1, 1)
    assert refusal.message == (
        "None of the accounts can answer for small now: 1 is cooling down, 1 is busy, "
        "1 has failed this request, 1 is disabled; the first is back in 50 min."
    )
    assert refusal.retry_after == 5
    # A busy one that was tried is no hope.
    refusal = refused(pool, exclude=(name("d"), name("c")))
    assert (refusal.busy, refusal.tried, refusal.waiting) == (0, 2, False)
    assert refusal.retry_after == 3000
    assert not refusal.helpless


def test_second_tries_are_few_where_all_calls_fail() -> None:
    pool = make_pool("a", concurrency=100)

    def try_again() -> bool:
        granted = pool.acquire("large", NOW, again=True)
        if isinstance(granted, Lease):
            pool.release(granted, Outcome.UNUSED, NOW, Failure(FailureKind.NETWORK, "It broke."))
            return True
        assert not granted.waiting
        assert not granted.helpless
        assert "not tried again" in granted.message
        return False

    assert [try_again() for _ in range(IN_HAND + 2)] == [True] * IN_HAND + [False] * 2
    spend(pool, 9, "large")
    late = take(pool, "large")
    pool.release(late, Outcome.SERVED, NOW, Failure(FailureKind.TIMED_OUT, "Too late."))
    assert not try_again()  # nine have gone well
    spend(pool, 1, "large")
    assert try_again()
    assert not try_again()
    assert isinstance(pool.acquire("nothing", NOW, frozenset({name("a")}), again=True), Refusal)


def test_second_try_that_nobody_can_make_costs_none() -> None:
    pool = make_pool("a")
    for _ in range(IN_HAND + 5):
        refusal = pool.acquire("small", NOW, frozenset({name("a")}), again=True)
        assert isinstance(refusal, Refusal)
        assert "has failed this request" in refusal.message
    assert isinstance(pool.acquire("small", NOW, again=True), Lease)


def test_only_one_and_tried() -> None:
    pool = make_pool("a")
    refusal = refused(pool, exclude=(name("a"),))
    assert (refusal.retry_after, refusal.waiting, refusal.helpless) == (None, False, False)
    take(pool)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((0.2, "1 s"), (120, "120 s"), (121, "3 min"), (7200, "120 min"), (10_000, "3 h")),
        (72 * 3600 + 1, "4 days"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    pool = make_pool("a", quotas=Quotas({"small": Allowance(1, seconds)}))
    take(pool)
    assert refused(pool).message.endswith(f"back in {words}.")


def test_next_change() -> None:
    pool = make_pool("a", "b")
    assert pool.next_change("small", NOW) is None
    spend(pool, 2)
    spend(pool, 2, now=NOW + 10)
    assert pool.next_change("small", NOW + 10) == 90
    pool.disable(name("a"), "Out.", NOW)
    assert pool.next_change("small", NOW + 10) in (90, 100)
    assert pool.next_change("large", NOW + 10) is None
    assert pool.next_change("small", NOW + 110) is None


# Clock steps


def test_set_back_for_good() -> None:
    pool = make_pool("a")
    spend(pool, 2)
    back = NOW - 400_000_000
    assert refused(pool, now=back).retry_after == 100
    assert refused(pool, now=back + 60).retry_after == 40
    # Small steps on the way do not begin it anew.
    assert refused(pool, now=back + 50).retry_after == 50
    spend(pool, 2, now=back + 100)


def test_set_back_and_right_again() -> None:
    pool = make_pool("a")
    spend(pool, 2)
    refused(pool, now=NOW - 86_400)
    assert refused(pool, now=NOW + 10).retry_after == 90
    refused(pool, now=NOW - 86_400)
    assert refused(pool, now=NOW + 99).retry_after == 1
    spend(pool, 2, now=NOW + 100)


def test_set_back_a_little_after_a_lot() -> None:
    pool = make_pool("a")
    spend(pool, 2)
    for step in (-10, -5000, -10, -5000):
        refused(pool, now=NOW + step)
    assert refused(pool, now=NOW).retry_after == 100
    assert refused(pool, now=NOW - 1).retry_after == 100


def test_ahead_for_a_while() -> None:
    pool = make_pool("a")
    spend(pool, 2)
    assert status(pool, now=NOW + 10_000).groups[0].remaining == 2
    assert refused(pool, now=NOW + 20).retry_after == 80


def test_limit_and_clock_steps() -> None:
    pool = make_pool("a")
    lease = take(pool, "large")
    failure = Failure(FailureKind.RATE_LIMITED, "No.", 50)
    pool.release(lease, Outcome.LIMITED, NOW, failure)
    assert refused(pool, "large", now=NOW - 1000).retry_after == 50
    take(pool, "large", now=NOW - 940)
    # The clock returns, and nobody can tell when it was right.
    assert refused(pool, "large", now=NOW + 1).retry_after == 49


def test_ready_one_rests_again_when_the_clock_returns() -> None:
    pool = make_pool("a")
    spend(pool, 2)
    refused(pool, now=NOW - 1000)
    assert pool.next_change("small", NOW - 900) is None
    assert pool.next_change("small", NOW + 1) == 99
    assert refused(pool, now=NOW + 1).cooling == 1


def test_rest_gets_longer_when_the_clock_returns() -> None:
    pool = make_pool("a")
    spend(pool, 2)
    assert pool.next_change("small", NOW - 10) == 100
    assert pool.next_change("small", NOW + 20) == 80


def test_many_steps_back_end() -> None:
    pool = make_pool("a")
    spend(pool, 2)
    for step in range(40):
        refused(pool, now=NOW - 1000 * step)
    assert refused(pool, now=NOW - 38_950).retry_after == 50
    spend(pool, 2, now=NOW - 38_900)

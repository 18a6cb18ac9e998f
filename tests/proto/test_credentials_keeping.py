"""`grokproto.credentials.snapshot` and `status`: what survives a restart, and what is shown."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from grokproto.credentials import (
    Allowance,
    CredentialPool,
    CredentialRecord,
    Kind,
    Origin,
    PoolSettings,
    Quotas,
    Refusal,
    State,
    decode_record,
    encode_record,
    parse_account,
    parse_guest,
)
from grokproto.errors import ConfigurationError, LocalProtocolError
from grokproto.failures import Failure, FailureKind
from grokproto.lease import Lease, Outcome, Quota
from grokproto.secret import Secret

NOW = 1_700_000_000.0
SETTINGS = PoolSettings(quotas=Quotas({"small": Allowance(2, 100)}))
GUEST = "x-anonuserid=u; x-challenge=c; x-signature=s"


def make_pool(*tokens: str) -> CredentialPool:
    pool = CredentialPool(SETTINGS)
    for token in tokens:
        pool.add(parse_account(token))
    return pool


def take(pool: CredentialPool, now: float = NOW, group: str = "small") -> Lease:
    lease = pool.acquire(group, now)
    assert isinstance(lease, Lease)
    return lease


def start_again(
    pool: CredentialPool, settings: PoolSettings = SETTINGS
) -> tuple[CredentialPool, tuple[CredentialRecord, ...]]:
    written = [encode_record(record) for record in pool.snapshot()]
    fresh = CredentialPool(settings)
    fresh.restore(decode_record(data) for data in reversed(written))
    return fresh, fresh.snapshot()


def test_doubt_about_what_grok_told_is_kept_beside_it() -> None:
    """It counts otherwise, so it is asked again; what it told is the best guess all the same."""
    pool = make_pool("a")
    first, second = take(pool), take(pool)
    pool.release(first, Outcome.SERVED, NOW, quota=Quota(3, 5, 100))
    pool.release(second, Outcome.LIMITED, NOW, Failure(FailureKind.RATE_LIMITED, "Enough.", 7))
    restored, records = start_again(pool)
    assert records == pool.snapshot()
    for each in (pool, restored):
        ((group,),) = (shown.groups for shown in each.status(NOW))
        assert (group.total, group.known) == (5, True)
        assert take(each, now=NOW + 100).wants_quota


def make_eventful_pool() -> CredentialPool:
    pool = make_pool("spent", "limited", "dead", "blocked", "known", "fresh")
    pool.add_guest(parse_guest(GUEST), NOW, Origin.CONFIGURED)
    leases = [take(pool) for _ in range(5)]
    pool.release(
        leases[1], Outcome.LIMITED, NOW, Failure(FailureKind.RATE_LIMITED, "Enough.", 5000)
    )
    pool.release(leases[2], Outcome.REFUSED, NOW, Failure(FailureKind.UNAUTHORIZED, "Unknown."))
    pool.release(leases[3], Outcome.BLOCKED, NOW)
    pool.release(leases[4], Outcome.SERVED, NOW, quota=Quota(3, 7, 500))
    return pool


def test_all_is_kept() -> None:
    pool = make_eventful_pool()
    restored, records = start_again(pool)
    assert records == pool.snapshot()
    before = [replace(shown, in_flight=0) for shown in pool.status(NOW)]
    assert list(restored.status(NOW)) == before
    assert [shown.state for shown in before[:5]] == [
        *(State.READY, State.COOLING, State.DISABLED, State.DISABLED, State.READY)
    ]
    assert not restored.changes()


def test_granted_calls_stay_counted_and_nothing_is_in_flight() -> None:
    pool = make_pool("a")
    lost = [take(pool), take(pool)]
    restored, _ = start_again(pool)
    refusal = restored.acquire("small", NOW + 1)
    assert isinstance(refusal, Refusal)
    assert (refusal.cooling, refusal.busy) == (1, 0)
    with pytest.raises(LocalProtocolError):
        restored.release(lost[0], Outcome.UNUSED, NOW + 1)
    assert take(restored, NOW + 100).serial == 1


def test_turns_go_on() -> None:
    pool = make_pool("a", "b", "c")
    used = [take(pool).credential for _ in range(2)]
    restored, _ = start_again(pool)
    assert take(restored).credential not in used
    assert take(restored).credential == used[0]
    new, _ = restored.add(parse_account("d"))
    assert [shown.name for shown in restored.status(NOW)][-1] == new


def test_guess_is_the_configurations_to_make() -> None:
    pool = make_eventful_pool()
    larger = PoolSettings(quotas=Quotas({"small": Allowance(9, 100)}))
    restored, _ = start_again(pool, larger)
    totals = [group.total for shown in restored.status(NOW) for group in shown.groups]
    assert totals == [9, 9, 9, 9, 7]


def test_clock_before_the_last_life() -> None:
    pool = make_pool("a")
    take(pool)
    take(pool)
    back = NOW - 1_000_000
    restored, _ = start_again(pool)
    refusal = restored.acquire("small", back)
    assert isinstance(refusal, Refusal)
    assert refusal.retry_after == 100
    # That is written down, too: dying again and again does not make it longer.
    changes = restored.changes()
    assert len(changes.records) == 1
    again = CredentialPool(SETTINGS)
    again.restore(changes.records)
    refusal = again.acquire("small", back + 60)
    assert isinstance(refusal, Refusal)
    assert refusal.retry_after == 40
    take(again, back + 100)


def test_changes_are_told_once_and_only_what_changed() -> None:
    pool = make_pool("a", "b")
    assert [record.position for record in pool.changes().records] == [1, 2]
    assert not pool.changes()
    lease = take(pool)
    (record,) = pool.changes().records
    assert (record.name, record.ledgers[0].used) == (lease.credential, 1)
    pool.release(lease, Outcome.SERVED, NOW)
    assert not pool.changes()
    pool.release(take(pool), Outcome.UNUSED, NOW)
    (record,) = pool.changes().records
    assert record.ledgers[0].used == 0
    gone = take(pool)
    pool.remove(gone.credential)
    changes = pool.changes()
    assert (changes.records, changes.removed) == ((), (gone.credential,))
    pool.remove(lease.credential)
    pool.add(parse_account("a"))
    changes = pool.changes()
    assert (len(changes.records), changes.removed) == (1, ())
    assert not pool.disable("nobody", "Why not.", NOW)
    assert not pool.changes()
    name = changes.records[0].name
    pool.disable(name, "Mine.", NOW)
    (record,) = pool.changes().records
    assert record.disabled is not None
    assert record.disabled.since == NOW
    pool.enable(name)
    assert pool.changes().records[0].disabled is None


def test_a_step_back_of_the_clock_is_written_for_those_who_are_there() -> None:
    pool = make_pool("a", "b")
    for _ in range(2):
        take(pool)
    pool.remove(pool.snapshot()[0].name)
    pool.changes()
    pool.next_change("small", NOW - 50)
    changes = pool.changes()
    assert (len(changes.records), changes.removed) == (1, ())
    window = changes.records[0].ledgers[0].window
    assert window is not None
    assert window.landings == (NOW - 50,)


def test_restore_takes_nobody_twice() -> None:
    pool = make_pool("a", "b")
    records = pool.snapshot()
    for wrong in (
        [records[0], records[0]],
        [records[0], replace(records[0], name="other")],
        [replace(records[0], cookies={})],
    ):
        fresh = CredentialPool(SETTINGS)
        with pytest.raises(LocalProtocolError):
            fresh.restore(wrong)
        assert len(fresh) == 0
    with pytest.raises(LocalProtocolError):
        pool.restore(records)
    assert pool.snapshot() == records
    # The same value may be an account's cookie and a guest's.
    fresh = CredentialPool(SETTINGS)
    fresh.restore([records[0], replace(records[0], name="guest", kind=Kind.GUEST)])
    assert len(fresh) == 2


def test_cookies_are_kept_and_not_shown() -> None:
    pool = make_pool("do-not-tell-5c1e")
    lease = take(pool)
    (record,) = pool.snapshot()
    data = encode_record(record)
    assert json.loads(data)["cookies"]["sso"] == "do-not-tell-5c1e"
    assert decode_record(data) == record
    assert isinstance(decode_record(data).cookies["sso"], Secret)
    shown = [record, pool.changes(), lease, list(pool.status(NOW)), pool.acquire("small", NOW)]
    assert "do-not-tell" not in f"{shown!r} {shown}"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: b"",
        lambda data: b"[]",
        lambda data: data.replace(b'"do-not-tell"', b"7"),
        lambda data: data.replace(b'"account"', b'"emperor"'),
        lambda data: data.replace(b"do-not", b"\xff\xfe"),
        lambda data: b"[" * 100_000,
    ],
)
def test_damaged_record(damage: object) -> None:
    data = encode_record(make_pool("do-not-tell").snapshot()[0])
    assert callable(damage)
    with pytest.raises(ConfigurationError) as caught:
        decode_record(damage(data))
    assert "do-not-tell" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_status_of_groups() -> None:
    pool = make_pool("a")
    take(pool)
    take(pool)
    take(pool, group="other")
    (shown,) = pool.status(NOW)
    other, small = shown.groups
    assert (small.remaining, small.total, small.known) == (0, 2, False)
    assert (small.reason, small.until) == ("All 2 calls of small are used.", NOW + 100)
    assert (other.reason, other.until, other.remaining) == (None, None, 19)
    assert (shown.state, shown.reason, shown.until) == (State.COOLING, small.reason, NOW + 100)
    assert (shown.kind, shown.origin, shown.in_flight) == (Kind.ACCOUNT, Origin.ADDED, 3)
    (later,) = pool.status(NOW + 100)
    assert (later.state, later.reason) == (State.READY, None)


def test_status_of_a_limit_that_is_over_while_the_count_is_not() -> None:
    pool = make_pool("a")
    take(pool)
    pool.release(take(pool), Outcome.LIMITED, NOW, Failure(FailureKind.RATE_LIMITED, "Slow.", 5))
    (shown,) = pool.status(NOW)
    assert (shown.reason, shown.until) == ("Slow.", NOW + 100)
    (shown,) = pool.status(NOW + 5)
    assert (shown.reason, shown.until) == ("All 2 calls of small are used.", NOW + 100)

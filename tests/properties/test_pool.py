"""The pool against a model so plain that it can be believed: lists and loops, no queues.

Any order of acquires, releases with any outcome, restarts, coming and going of credentials, and
steps of the clock. The model knows who may be chosen and how; the pool must agree with it, and a
store fed with nothing but its changes must agree with both.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from grokproto.credentials import (
    Allowance,
    CredentialPool,
    PoolSettings,
    Quotas,
    Refusal,
    Rotation,
    State,
    decode_record,
    encode_record,
    parse_account,
)
from grokproto.credentials.retries import IN_HAND
from grokproto.errors import LocalProtocolError
from grokproto.failures import Failure, FailureKind
from grokproto.lease import Lease, Outcome, Quota

GROUPS = ("quick", "deep")
TOKENS = [f"token-{number}" for number in range(4)]
OUTCOMES = st.sampled_from([*Outcome, Outcome.SERVED, Outcome.UNUSED, Outcome.UNUSED])
NONE = st.none()
QUOTAS = st.builds(
    Quota,
    st.integers(0, 6),
    st.integers(0, 6),
    st.sampled_from([30, 60, 600]),
    st.none() | st.integers(1, 700),
)
START = 1_700_000_000


@attrs.define
class Time:
    """A length of time, in the model."""

    since: int
    length: int
    landings: list[int] = attrs.field(factory=list)
    """Where the clock was set back to, each earlier than all before."""


@attrs.define
class Account:
    """One group of one credential, in the model."""

    total: int
    length: int
    told: bool = False
    doubted: bool = False
    window: Time | None = None
    used: int = 0
    number: int = 0
    limit: Time | None = None
    last_used: int = 0
    in_flight: int = 0
    opened_at: int | None = None
    """Steady time, where nothing but the clock can have shortened the window since."""


@attrs.define
class Member:
    """One credential, in the model."""

    name: str
    position: int
    disabled: bool = False
    in_flight: int = 0
    last_used: int = 0
    accounts: dict[str, Account] = attrs.field(factory=dict)


@attrs.frozen
class Held:
    """A lease that is out."""

    lease: Lease
    member: Member
    group: str
    number: int


class PoolMachine(RuleBasedStateMachine):
    """Drives a pool and the model side by side."""

    @initialize(
        rotation=st.sampled_from(Rotation),
        concurrency=st.integers(1, 4),
        quick=st.integers(1, 4),
        deep=st.integers(1, 3),
        probe=st.booleans(),
    )
    def begin(
        self, rotation: Rotation, concurrency: int, quick: int, deep: int, probe: bool
    ) -> None:
        self.rotation, self.concurrency, self.probe = rotation, concurrency, probe
        self.quotas = {"quick": (quick, 60), "deep": (deep, 600)}
        self.now = START
        self.steady = 0
        self.pool = self.make_pool()
        self.retries = Fraction(IN_HAND)
        self.store: dict[str, bytes] = {}
        self.members: dict[str, Member] = {}
        self.gone: dict[str, Member] = {}
        self.held: list[Held] = []
        self.spent: list[Lease] = []
        self.turn = self.position = 0
        for token in TOKENS[:3]:
            self.add(token)

    def make_pool(self) -> CredentialPool:
        groups = {group: Allowance(total, length) for group, (total, length) in self.quotas.items()}
        return CredentialPool(
            PoolSettings(self.rotation, self.concurrency, Quotas(groups), quota_probe=self.probe)
        )

    # The model

    def end(self, time: Time | None) -> int | None:
        if time is None:
            return None
        known = [start for start in (time.since, *time.landings) if start <= self.now]
        return known[0] + time.length if known and known[0] + time.length > self.now else None

    def land(self, before: int) -> None:
        """The clock was set back from `before`."""
        for member in (*self.members.values(), *self.gone.values()):
            for account in member.accounts.values():
                for time in (account.window, account.limit):
                    if time and time.since > self.now:
                        started = next(
                            (at for at in (time.since, *time.landings) if at <= before), None
                        )
                        line = [time.since, *time.landings]
                        if started is not None:
                            del line[line.index(started) + 1 :]
                        if line[-1] > self.now:
                            line[8:] = [self.now]
                        time.landings = line[1:]

    def account(self, member: Member, group: str) -> Account:
        return member.accounts.setdefault(group, Account(*self.quotas[group]))

    def window_end(self, account: Account) -> int | None:
        return self.end(account.window)

    def left(self, account: Account) -> int:
        if self.window_end(account) is None:
            return account.total
        return max(0, account.total - account.used)

    def rest_end(self, account: Account) -> int | None:
        ends = [self.end(account.limit)]
        if not self.left(account):
            ends.append(self.window_end(account))
        return max((end for end in ends if end is not None), default=None)

    def key(self, member: Member, group: str) -> tuple[int, int]:
        account = self.account(member, group)
        match self.rotation:
            case Rotation.BALANCED:
                return -self.left(account), member.last_used
            case Rotation.ROUND_ROBIN:
                return account.last_used, member.position
            case Rotation.FILL_FIRST:
                return member.position, 0

    def open(self, account: Account, length: int) -> None:
        account.window, account.used = Time(self.now, length), 0
        account.number += 1

    # Calls

    @rule(group=st.sampled_from(GROUPS), times=st.integers(1, 4))
    def acquire_some(self, group: str, times: int) -> None:
        for _ in range(times):
            self.acquire(group, set())

    @rule(
        group=st.sampled_from(GROUPS),
        excluded=st.sets(st.sampled_from(TOKENS), max_size=2),
        again=st.booleans(),
    )
    def acquire(self, group: str, excluded: set[str], again: bool = False) -> None:
        exclude = frozenset(parse_account(token)["sso"].fingerprint for token in excluded)
        enabled = [member for member in self.members.values() if not member.disabled]
        resting = [m for m in enabled if self.rest_end(self.account(m, group)) is not None]
        usable = [m for m in enabled if m not in resting]
        tried = [m for m in usable if m.name in exclude]
        free = [m for m in usable if m not in tried and m.in_flight < self.concurrency]
        granted = self.pool.acquire(group, self.now, exclude, again=again)
        if again and self.retries < 1:
            assert isinstance(granted, Refusal)
            assert (granted.waiting, granted.retry_after) == (False, None)
            return
        if isinstance(granted, Refusal):
            assert not free
            busy = len(usable) - len(tried)
            assert granted.cooling == len(resting)
            assert granted.disabled == len(self.members) - len(enabled)
            assert granted.busy == busy
            assert granted.tried == len(tried)
            assert granted.waiting == (busy > 0)
            ends = [self.rest_end(self.account(m, group)) for m in resting]
            waits = [end - self.now for end in ends if end is not None] + [5] * (busy > 0)
            assert granted.retry_after == min(waits, default=None)
            return
        self.retries -= again
        member = self.members[granted.credential]
        assert member in free
        assert self.key(member, group) == min(self.key(other, group) for other in free)
        account = self.account(member, group)
        opens = self.window_end(account) is None
        if opens:
            if account.opened_at is not None:
                assert self.steady - account.opened_at >= account.length, "two windows at once"
            self.open(account, account.length)
            account.opened_at = self.steady
        assert granted.wants_quota == (
            opens and self.probe and (account.doubted or not account.told)
        )
        account.used += 1
        assert account.used <= account.total, "oversold"
        self.turn += 1
        account.last_used = member.last_used = self.turn
        account.in_flight += 1
        member.in_flight += 1
        self.held.append(Held(granted, member, group, account.number))

    @precondition(lambda self: self.held)
    @rule(
        data=st.data(),
        outcome=OUTCOMES,
        retry_after=st.none() | st.integers(0, 700),
        quota=st.sampled_from([None, None, None, 1]).flatmap(lambda told: QUOTAS if told else NONE),
    )
    def release(
        self, data: st.DataObject, outcome: Outcome, retry_after: int | None, quota: Quota | None
    ) -> None:
        held = data.draw(st.sampled_from(self.held))
        failure = Failure(FailureKind.UPSTREAM, "It broke.", retry_after)
        went_well = outcome is Outcome.SERVED and retry_after is None
        self.pool.release(held.lease, outcome, self.now, None if went_well else failure, quota)
        self.retries = min(Fraction(IN_HAND), self.retries + went_well * Fraction(1, 10))
        self.held.remove(held)
        self.spent.append(held.lease)
        member, account = held.member, self.account(held.member, held.group)
        member.in_flight -= 1
        account.in_flight -= 1
        if outcome is Outcome.UNUSED:
            self.give_back(account, held.number)
        if quota is not None and quota.total > 0:
            self.learn(account, quota)
        if outcome is Outcome.LIMITED:
            self.limit(account, retry_after)
        here = self.members.get(member.name) is member
        if here and outcome in (Outcome.REFUSED, Outcome.BLOCKED):
            member.disabled = True

    @precondition(lambda self: self.held)
    @rule(data=st.data(), outcome=st.sampled_from([Outcome.SERVED, Outcome.UNUSED]))
    def release_all(self, data: st.DataObject, outcome: Outcome) -> None:
        while self.held:
            self.release(data, outcome, None, None)

    def give_back(self, account: Account, number: int) -> None:
        if number == account.number and account.used and self.window_end(account) is not None:
            account.used -= 1
            if account.used == 0:
                account.window = account.opened_at = None

    def learn(self, account: Account, quota: Quota) -> None:
        remaining = min(quota.remaining, quota.total)
        window_open = self.window_end(account) is not None
        own = account.used if window_open else 0
        counted = quota.total - remaining
        account.told, account.doubted, account.opened_at = True, False, None
        account.total, account.length = quota.total, int(quota.window)
        used = own if own >= counted else counted + account.in_flight
        if used and not window_open:
            self.open(account, account.length)
        if used:
            account.used = used
            assert account.window is not None
            account.window.length = account.length
            if remaining == 0 and quota.wait is not None:
                account.window = Time(self.now, int(quota.wait))
            elif self.window_end(account) is None:
                account.window = Time(self.now, account.length)

    def limit(self, account: Account, retry_after: int | None) -> None:
        if self.left(account):
            account.doubted = True
        end = self.window_end(account)
        until = account.length if end is None else end - self.now
        seconds = max(1, until if retry_after is None else retry_after)
        present = self.end(account.limit)
        if present is None or present < self.now + seconds:
            account.limit = Time(self.now, seconds)

    @precondition(lambda self: self.spent)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def release_again(self, data: st.DataObject, outcome: Outcome) -> None:
        before = self.pool.snapshot()
        with pytest.raises(LocalProtocolError):
            self.pool.release(data.draw(st.sampled_from(self.spent)), outcome, self.now)
        assert self.pool.snapshot() == before

    # Credentials

    @rule(data=st.data(), what=st.sampled_from(["add", "remove", "disable", "enable", "enable"]))
    def come_and_go(self, data: st.DataObject, what: str) -> None:
        if what == "add" or not self.members:
            self.add(data.draw(st.sampled_from(TOKENS)))
            return
        name = data.draw(st.sampled_from(sorted(self.members)))
        member = self.members[name]
        match what:
            case "remove":
                assert self.pool.remove(name)
                self.gone[name] = self.members.pop(name)
            case "disable":
                assert self.pool.disable(name, "I say so.", self.now)
                member.disabled = True
            case _:
                assert self.pool.enable(name)
                member.disabled = False

    def add(self, token: str) -> None:
        name, new = self.pool.add(parse_account(token))
        assert new == (name not in self.members)
        if new:
            self.position += 1
            member = self.gone.pop(name, None) or Member(name, self.position)
            member.position, member.disabled = self.position, False
            self.members[name] = member

    # Time and death

    @rule(seconds=st.sampled_from([1, 7, 59, 60, 60, 61, 600]))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.steady += seconds

    @rule(
        what=st.sampled_from(["back", "forward", "back and right again", "snapshot", "store"]),
        seconds=st.sampled_from([1, 30, 90, 900, 10_000_000]),
    )
    def upheave(self, what: str, seconds: int) -> None:
        match what:
            case "back":
                self.set_back(seconds)
            case "forward":
                self.set_forward(seconds)
            case "back and right again":
                self.set_back(seconds)
                self.now += seconds
            case _:
                self.die_and_start_again(from_store=what == "store")

    def set_back(self, seconds: int) -> None:
        before, self.now = self.now, self.now - seconds
        self.land(before)
        self.pool.next_change("quick", self.now)  # somebody looks at the clock

    def set_forward(self, seconds: int) -> None:
        self.now += seconds
        for member in (*self.members.values(), *self.gone.values()):
            for account in member.accounts.values():
                account.opened_at = None  # nobody can tell it from time that passed

    def die_and_start_again(self, from_store: bool) -> None:
        self.drain()
        kept = [decode_record(data) for data in self.store.values()]
        records = kept if from_store else list(self.pool.snapshot())
        self.pool = self.make_pool()
        self.pool.restore(records)
        self.retries = Fraction(IN_HAND)
        self.gone = {}
        self.land(self.now)
        self.pool.next_change("quick", self.now)
        self.spent += [held.lease for held in self.held]
        self.held = []
        self.position = max((m.position for m in self.members.values()), default=0)
        self.turn = max((m.last_used for m in self.members.values()), default=0)
        for member in self.members.values():
            member.in_flight = 0
            for group, account in member.accounts.items():
                account.in_flight = 0
                if not account.told:  # only what Grok told is kept; our guess is made anew
                    account.total, account.length = self.quotas[group]

    def drain(self) -> None:
        changes = self.pool.changes()
        self.store.update({record.name: encode_record(record) for record in changes.records})
        for name in changes.removed:
            self.store.pop(name, None)

    # What always holds

    @invariant()
    def store_knows_all(self) -> None:
        if not hasattr(self, "pool"):
            return
        self.drain()
        kept = {name: decode_record(data) for name, data in self.store.items()}
        assert kept == {record.name: record for record in self.pool.snapshot()}

    @invariant()
    def pages_agree(self) -> None:
        if not hasattr(self, "pool"):
            return
        shown = {status.name: status for status in self.pool.status(self.now)}
        assert list(shown) == [
            m.name for m in sorted(self.members.values(), key=lambda m: m.position)
        ]
        for name, member in self.members.items():
            status = shown[name]
            assert status.in_flight == member.in_flight
            assert (status.state is State.DISABLED) == member.disabled
            for group in status.groups:
                account = self.account(member, group.group)
                assert group.remaining == self.left(account)
                assert group.until == self.rest_end(account)
                assert group.window_end == self.window_end(account)
                assert group.known == account.told
        for group_name in GROUPS:
            ends = [
                self.rest_end(self.account(m, group_name))
                for m in self.members.values()
                if not m.disabled
            ]
            waits = [end - self.now for end in ends if end is not None]
            assert self.pool.next_change(group_name, self.now) == min(waits, default=None)


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=250, stateful_step_count=50, deadline=None)


@given(
    count=st.integers(1, 7),
    calls=st.lists(st.booleans(), max_size=60),
    rotation=st.sampled_from([Rotation.BALANCED, Rotation.ROUND_ROBIN]),
)
def test_fair_within_one_call(count: int, calls: list[bool], rotation: Rotation) -> None:
    quotas = Quotas({"quick": Allowance(100, 60)})
    pool = CredentialPool(PoolSettings(rotation, 100, quotas))
    for number in range(count):
        pool.add(parse_account(f"t{number}"))
    granted: Counter[str] = Counter({status.name: 0 for status in pool.status(START)})
    held: list[Lease] = []
    for acquire in calls:
        if acquire or not held:
            lease = pool.acquire("quick", START)
            assert isinstance(lease, Lease)
            held.append(lease)
            granted[lease.credential] += 1
        else:
            pool.release(held.pop(), Outcome.SERVED, START)
        assert max(granted.values()) - min(granted.values()) <= 1

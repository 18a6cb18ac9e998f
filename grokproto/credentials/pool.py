"""The credential pool: which credential a call is made with, and what follows from its outcome.

The pool is pure. Time is an argument (`unix_now`, Unix seconds; see `clock` for what happens when
it is set), waiting is the host's, and so is keeping: after each call that changes something,
`changes` has the records to write. A host that writes them before it lets a granted call go out
never loses one, whenever it dies.

What an outcome does:

  SERVED    the call stays counted
  UNUSED    it is taken off the count, in the window in which it was granted, once
  LIMITED   the group rests until its window ends, or as long as Grok said
  REFUSED   the credential is disabled, with the reason
  BLOCKED   the same

Nothing else ever puts a credential out of service, but a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from ..errors import LocalProtocolError
from ..failures import Failure
from ..lease import Lease, Outcome, Quota
from ..secret import Secret
from .clock import Clock
from .credential import Cause, Disabled, Kind, Origin
from .guests import GUEST_GROUP, Guests
from .ledger import Credential, Ledger
from .refusal import Refusal, Tally, refuse, refuse_again
from .retries import Retries
from .roster import Roster
from .settings import PoolSettings
from .snapshot import Changes, CredentialRecord, record_credential
from .status import CredentialStatus, describe


class _Grant(msgspec.Struct, frozen=True):
    """A lease that is out."""

    lease: Lease
    ledger: Ledger
    window: int


class CredentialPool:
    """Credentials, their counts, and the leases that are out.

    Names of credentials are public; they are fingerprints.
    """

    def __init__(self, settings: PoolSettings | None = None) -> None:
        self._settings = settings or PoolSettings()
        self._clock = Clock()
        self._roster = Roster(self._settings, self._clock)
        self._grants: dict[int, _Grant] = {}
        self._serial = 0
        self._turn = 0
        """Grants ever; orders the uses of credentials without a clock."""
        self._retries = Retries()
        guests = self._settings.guests
        self._guests = None if guests is None else Guests(guests, self._clock)

    # Calls

    def acquire(
        self,
        group: str,
        unix_now: float,
        exclude: frozenset[str] = frozenset(),
        *,
        again: bool = False,
    ) -> Lease | Refusal:
        """Grant a call, or say why not.

        A lease must be given back with `release`, once.

        Args:
            group: The quota group of the model.
            unix_now: Unix seconds.
            exclude: Names of the credentials that this request has tried.
            again: The last one failed by nobody's fault. There are so many second tries, and no
                more (see `retries`).
        """
        self._tell(unix_now)
        if again and not self._retries.left:
            return refuse_again(group)
        granted = self._choose(group, exclude)
        if again and isinstance(granted, Lease):
            self._retries.take()
        return granted

    def _choose(self, group: str, exclude: frozenset[str]) -> Lease | Refusal:
        if self._guests is None or group != GUEST_GROUP:
            return self._acquire(Kind.ACCOUNT, group, exclude)
        granted = self._acquire_guest(self._guests, exclude)
        if (
            isinstance(granted, Lease)
            or self._guests.unavailable is None
            or not self._roster.count(Kind.ACCOUNT)
        ):
            return granted
        instead = self._acquire(Kind.ACCOUNT, group, exclude)
        return instead if isinstance(instead, Lease) or not granted.waiting else granted

    def release(
        self,
        lease: Lease,
        outcome: Outcome,
        unix_now: float,
        failure: Failure | None = None,
        quota: Quota | None = None,
    ) -> None:
        """Take a lease back.

        Args:
            lease: The very one that `acquire` returned.
            outcome: What became of the call.
            unix_now: Unix seconds.
            failure: Why; its sentence is shown to people, its `retry_after` is how long a limited
                group rests.
            quota: What Grok said of the group, if it was asked.

        Raises:
            LocalProtocolError: The lease is not out: it was given back before, or another pool
                granted it. Nothing has changed.
        """
        grant = self._grants.get(lease.serial)
        if grant is None or grant.lease is not lease:
            raise LocalProtocolError(
                f"lease {lease.serial} of {lease.credential} is not out: it was given back before, "
                "or another pool granted it"
            )
        del self._grants[lease.serial]
        self._tell(unix_now)
        ledger = grant.ledger
        credential = ledger.credential
        credential.in_flight -= 1
        ledger.in_flight -= 1
        if credential.kind is Kind.GUEST and self._guests is not None:
            self._guests.in_flight -= 1
        if outcome is Outcome.SERVED and failure is None:
            self._retries.note_served()
        changed = outcome is Outcome.UNUSED and ledger.give_back(grant.window, self._clock.now)
        if quota is not None:
            changed |= ledger.learn(quota, self._clock.now)
        if outcome is Outcome.LIMITED:
            reason = failure.message if failure else f"Grok says that {ledger.group} is used up."
            ledger.rest(failure.retry_after if failure else None, reason, self._clock.now)
            changed = True
        if self._roster.get(credential.name) is not credential:
            return  # removed while it was lent out
        if changed:
            self._roster.mark(credential)
        if outcome is Outcome.REFUSED or outcome is Outcome.BLOCKED:
            self._write_off(credential, outcome, failure)
        elif credential.disabled is None:
            if credential.in_flight == self._settings.concurrency - 1:
                self._roster.place(credential)  # it was busy, in every group
            else:
                self._roster.rota(credential.kind, ledger.group).place(ledger)

    def next_change(self, group: str, unix_now: float) -> float | None:
        """Seconds until a credential that cools down in `group` is back; None when none does.

        Besides that, what is possible changes only with a release, or when a credential is added
        or enabled.
        """
        self._tell(unix_now)
        kinds = [Kind.ACCOUNT]
        if self._guests is not None and group == GUEST_GROUP:
            kinds = [Kind.GUEST] if self._guests.unavailable is None else [Kind.GUEST, *kinds]
        ends = [self._roster.rota(kind, group).next_change() for kind in kinds]
        return min((end - unix_now for end in ends if end is not None), default=None)

    # Credentials

    def add(self, cookies: Mapping[str, Secret], origin: Origin = Origin.ADDED) -> tuple[str, bool]:
        """Take an account in. One that is here already stays as it is.

        One that was removed, and is added again while its window is open, is still charged with the
        calls made before.

        Args:
            cookies: What makes a request the account's own; the first tells it from others.
            origin: Where it came from.

        Returns:
            Its name, and whether it is new.

        Raises:
            LocalProtocolError: There are no cookies.
        """
        return self._roster.add(cookies, origin, Kind.ACCOUNT)

    def find(self, cookies: Mapping[str, Secret]) -> str | None:
        """The name of the account that `add` would find here; None where it would be new."""
        cookie = next(iter(cookies.values()), None)
        return None if cookie is None else self._roster.find(Kind.ACCOUNT, cookie)

    def remove(self, name: str) -> bool:
        """Forget a credential and its cookies; whether there was one.

        Leases of it that are out can still be given back.
        """
        return self._roster.remove(name)

    def disable(self, name: str, reason: str, unix_now: float) -> bool:
        """Put a credential out of service until a person enables it; whether there is one."""
        self._tell(unix_now)
        credential = self._roster.get(name)
        if credential is not None:
            self._roster.disable(credential, Disabled(Cause.OPERATOR, reason, unix_now))
        return credential is not None

    def enable(self, name: str) -> bool:
        """Put a credential in service again; whether there is one."""
        credential = self._roster.get(name)
        if credential is not None:
            self._roster.enable(credential)
        return credential is not None

    def __len__(self) -> int:
        return len(self._roster)

    # Guests

    def guests_wanted(self, unix_now: float) -> int:
        """How many guest sessions to fetch now.

        For each of them the host must call `add_guest` or `guests_unavailable` in the end; until
        then it is not wanted again.
        """
        self._tell(unix_now)
        if self._guests is None:
            return 0
        rota = self._roster.rota(Kind.GUEST, GUEST_GROUP)
        rota.settle()
        return self._guests.want(rota.usable)

    def add_guest(
        self, cookies: Mapping[str, Secret], unix_now: float, origin: Origin = Origin.FETCHED
    ) -> tuple[str, bool]:
        """Take a guest session in; one that was fetched before and is used up makes room for it.

        Returns:
            Its name, and whether it is new.

        Raises:
            LocalProtocolError: There are no cookies.
        """
        self._tell(unix_now)
        added = self._roster.add(cookies, origin, Kind.GUEST)
        if self._guests is not None and origin is Origin.FETCHED:
            self._guests.arrive()
            surplus = self._roster.count(Kind.GUEST) - self._guests.level
            for ledger in self._roster.rota(Kind.GUEST, GUEST_GROUP).resting_ledgers():
                if surplus > 0 and ledger.credential.origin is Origin.FETCHED:
                    self._roster.remove(ledger.credential.name)
                    surplus -= 1
        return added

    def guests_unavailable(self, reason: str, unix_now: float) -> None:
        """Take note that the site gave no guest session; grok-2 may use the accounts now.

        Args:
            reason: A clause for people, such as `it sets no guest cookies`.
            unix_now: Unix seconds.
        """
        self._tell(unix_now)
        if self._guests is not None:
            self._guests.fail(reason)

    # Keeping and showing

    def changes(self) -> Changes:
        """What changed since the last call of this, to be written before a granted call goes out.

        Where writing fails, `snapshot` has the whole.
        """
        return self._roster.drain_changes()

    def snapshot(self) -> tuple[CredentialRecord, ...]:
        """All that must survive a restart, in the order in which credentials were added."""
        return tuple(record_credential(credential) for credential in self._roster)

    def restore(self, records: Iterable[CredentialRecord]) -> None:
        """Take in what an earlier pool kept, in any order. Comes before anything is added.

        Raises:
            LocalProtocolError: A credential is there twice, or was here before, or has no cookies.
                Nothing has changed.
        """
        self._turn = max(self._turn, self._roster.restore(records))
        self._clock.doubt()

    def status(self, unix_now: float) -> Iterator[CredentialStatus]:
        """What people are shown of each credential, in the order in which they were added."""
        self._tell(unix_now)
        return (
            describe(each, self._settings.concurrency, self._clock.now) for each in self._roster
        )

    def describe(self, name: str, unix_now: float) -> CredentialStatus | None:
        """What people are shown of one credential; None when there is no such."""
        self._tell(unix_now)
        credential = self._roster.get(name)
        if credential is None:
            return None
        return describe(credential, self._settings.concurrency, self._clock.now)

    # Inside

    def _tell(self, unix_now: float) -> None:
        before = self._clock.tell(unix_now)
        if before is not None:
            self._roster.notice(before)
            if self._guests is not None:
                self._guests.notice(before)

    def _acquire(self, kind: Kind, group: str, exclude: frozenset[str]) -> Lease | Refusal:
        rota = self._roster.rota(kind, group)
        ledger = rota.choose(exclude)
        if ledger is None:
            return self._refuse(kind, group, exclude)
        opens = ledger.grant(self._clock.now)
        credential = ledger.credential
        self._turn += 1
        self._serial += 1
        ledger.last_used = credential.last_used = self._turn
        credential.in_flight += 1
        lease = Lease(
            serial=self._serial,
            credential=credential.name,
            group=group,
            cookies=credential.cookies,
            wants_quota=opens and self._settings.quota_probe and ledger.asks_quota,
        )
        self._grants[lease.serial] = _Grant(lease, ledger, ledger.number)
        self._roster.mark(credential)
        rota.place(ledger)
        return lease

    def _refuse(self, kind: Kind, group: str, exclude: frozenset[str]) -> Refusal:
        rota = self._roster.rota(kind, group)
        tried = busy_and_tried = 0
        for name in exclude:
            credential = self._roster.get(name)
            if credential is not None and credential.kind is kind:
                ledger = self._roster.ledger(credential, group)
                tried += rota.is_usable(ledger)
                busy_and_tried += rota.is_parked(ledger)
        end = rota.next_change()
        tally = Tally(
            cooling=rota.resting,
            disabled=self._roster.count(kind) - len(rota),
            busy=rota.parked - busy_and_tried,
            tried=tried,
        )
        return refuse(kind, group, tally, None if end is None else end - self._clock.now)

    def _acquire_guest(self, guests: Guests, exclude: frozenset[str]) -> Lease | Refusal:
        rota = self._roster.rota(Kind.GUEST, GUEST_GROUP)
        if guests.full and rota.choose(exclude) is not None:
            return guests.refuse_full(rota.usable, rota.resting)
        granted = self._acquire(Kind.GUEST, GUEST_GROUP, exclude)
        if isinstance(granted, Lease):
            guests.in_flight += 1
            return granted
        return guests.refuse(granted, rota.usable)

    def _write_off(self, credential: Credential, outcome: Outcome, failure: Failure | None) -> None:
        if outcome is Outcome.BLOCKED:
            cause, reason = Cause.BLOCKED, "Grok has blocked the account."
        else:
            cause, reason = Cause.REFUSED, "Grok no longer knows the cookie."
        if credential.origin is Origin.FETCHED:
            self._roster.remove(credential.name)  # the site will give another
        elif credential.disabled is None:
            reason = failure.message if failure else reason
            self._roster.disable(credential, Disabled(cause, reason, self._clock.now))

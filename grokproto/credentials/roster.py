"""Who is in the pool: credentials by name, and the rotas that they stand in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from ..errors import LocalProtocolError
from ..secret import Secret
from .clock import Clock
from .credential import Disabled, Kind, Origin
from .ledger import Credential, Ledger
from .rota import Rota
from .settings import PoolSettings
from .snapshot import Changes, CredentialRecord, record_credential, restore_credential

_FEW = 64
"""Removed credentials are not looked through before there are so many."""


class Roster:
    """The credentials of a pool, what changed about them, and the rota of each group."""

    def __init__(self, settings: PoolSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._credentials: dict[str, Credential] = {}
        """In the order in which they were added."""
        self._names: dict[tuple[Kind, Secret], str] = {}
        """By the cookie that tells one from another."""
        self._counts: Counter[Kind] = Counter()
        self._removed: dict[str, Credential] = {}
        """By name, without cookies: what still counts against one that may be added again."""
        self._look_through_at = _FEW
        self._rotas: dict[tuple[Kind, str], Rota] = {}
        """Made when a group is first asked for, and anew when the clock was set back."""
        self._position = 0
        self._changed: dict[str, None] = {}

    def __iter__(self) -> Iterator[Credential]:
        return iter(self._credentials.values())

    def __len__(self) -> int:
        return len(self._credentials)

    def get(self, name: str) -> Credential | None:
        """The credential of a name."""
        return self._credentials.get(name)

    def count(self, kind: Kind) -> int:
        """How many there are of a kind, disabled ones among them."""
        return self._counts[kind]

    def find(self, kind: Kind, cookie: Secret) -> str | None:
        """The name of the credential that has this first cookie."""
        return self._names.get((kind, cookie))

    # Coming and going

    def add(self, cookies: Mapping[str, Secret], origin: Origin, kind: Kind) -> tuple[str, bool]:
        """Take a credential in, unless it is here already: its name, and whether it is new.

        Raises:
            LocalProtocolError: There are no cookies.
        """
        cookie = next(iter(cookies.values()), None)
        if cookie is None:
            raise LocalProtocolError("a credential without cookies")
        name = self.find(kind, cookie)
        if name is not None:
            return name, False
        base = f"guest-{cookie.fingerprint}" if kind is Kind.GUEST else cookie.fingerprint
        name, number = base, 1
        while name in self._credentials:  # fingerprints are short; with many, some are alike
            number += 1
            name = f"{base}-{number}"
        self._position += 1
        credential = self._removed.pop(name, None)
        if credential is None:
            credential = Credential(name, kind, origin, cookies, self._position)
        else:
            credential.origin, credential.cookies = origin, cookies
            credential.position, credential.disabled = self._position, None
        self._take_in(credential)
        self.mark(credential)
        return name, True

    def remove(self, name: str) -> bool:
        """Forget a credential and its cookies; whether there was one."""
        credential = self._credentials.pop(name, None)
        if credential is None:
            return False
        self._withdraw(credential)
        self._counts[credential.kind] -= 1
        del self._names[_identity(credential)]
        credential.cookies = {}
        self.mark(credential)
        self._removed[name] = credential
        if len(self._removed) >= self._look_through_at:
            self._removed = {
                name: removed for name, removed in self._removed.items() if self._matters(removed)
            }
            self._look_through_at = 2 * len(self._removed) + _FEW
        return True

    def disable(self, credential: Credential, disabled: Disabled) -> None:
        """Put a credential out of service."""
        credential.disabled = disabled
        self._withdraw(credential)
        self.mark(credential)

    def enable(self, credential: Credential) -> None:
        """Put a credential in service again."""
        if credential.disabled is not None:
            credential.disabled = None
            self.mark(credential)
            self.place(credential)

    def restore(self, records: Iterable[CredentialRecord]) -> int:
        """Take in what was kept; the largest `last_used` of it.

        Raises:
            LocalProtocolError: A credential is there twice, or was here before, or has no cookies.
                Nothing has changed.
        """
        ordered = sorted(records, key=lambda record: record.position)
        if not all(record.cookies for record in ordered):
            raise LocalProtocolError("a restored credential has no cookies")
        restored = [restore_credential(record, self._settings.quotas) for record in ordered]
        names = {credential.name for credential in restored} | self._credentials.keys()
        identities = {_identity(credential) for credential in restored} | self._names.keys()
        if not len(names) == len(identities) == len(self) + len(restored):
            raise LocalProtocolError("a restored credential is there twice")
        for credential in restored:
            self._position = max(self._position, credential.position)
            self._take_in(credential)
        return max((credential.last_used for credential in restored), default=0)

    # Keeping

    def mark(self, credential: Credential) -> None:
        """Note that there is something to write about a credential."""
        self._changed[credential.name] = None

    def drain_changes(self) -> Changes:
        """What there is to write, once."""
        records: list[CredentialRecord] = []
        removed: list[str] = []
        for name in self._changed:
            credential = self._credentials.get(name)
            if credential is None:
                removed.append(name)
            else:
                records.append(record_credential(credential))
        self._changed.clear()
        return Changes(tuple(records), tuple(removed))

    # Rotas

    def rota(self, kind: Kind, group: str) -> Rota:
        """Those of a kind in one group."""
        rota = self._rotas.get((kind, group))
        if rota is None:
            rota = Rota(self._settings.rotation, self._settings.concurrency, self._clock)
            self._rotas[kind, group] = rota
            for credential in self._credentials.values():
                if credential.kind is kind and credential.disabled is None:
                    rota.place(self.ledger(credential, group))
        return rota

    def ledger(self, credential: Credential, group: str) -> Ledger:
        """A credential's account of a group."""
        return credential.ledger(group, self._settings.quotas)

    def place(self, credential: Credential) -> None:
        """Put a credential where it belongs, in every group."""
        if credential.disabled is not None:
            return
        for (kind, group), rota in self._rotas.items():
            if kind is credential.kind:
                rota.place(self.ledger(credential, group))

    def notice(self, before: float) -> None:
        """The clock was set back from `before`: spans must know, and no timer holds."""
        self._rotas.clear()
        for credential in (*self._credentials.values(), *self._removed.values()):
            for ledger in credential.ledgers.values():
                if ledger.notice(before, self._clock.now) and credential.name in self._credentials:
                    self.mark(credential)

    # Inside

    def _take_in(self, credential: Credential) -> None:
        self._names[_identity(credential)] = credential.name
        self._credentials[credential.name] = credential
        self._counts[credential.kind] += 1
        self.place(credential)

    def _withdraw(self, credential: Credential) -> None:
        for (kind, group), rota in self._rotas.items():
            if kind is credential.kind:
                rota.remove(self.ledger(credential, group))

    def _matters(self, removed: Credential) -> bool:
        return removed.in_flight > 0 or any(
            ledger.is_open(self._clock.now) for ledger in removed.ledgers.values()
        )


def _identity(credential: Credential) -> tuple[Kind, Secret]:
    return credential.kind, next(iter(credential.cookies.values()))

"""What survives a restart: plain records, one for each credential, and their JSON.

Calls in flight are not among it. A call that was granted stays counted when the process dies, since
nobody can tell any more whether Grok saw it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import ConfigurationError
from ..secret import Secret
from .clock import Span
from .credential import Disabled, Kind, Origin
from .ledger import Credential, Ledger, Limit
from .quota import Allowance, Quotas


class LedgerRecord(msgspec.Struct, frozen=True):
    """One quota group of one credential."""

    group: str
    used: int = 0
    """Calls granted in `window`."""

    window: Span | None = None
    """The last one that a call opened."""

    limit: Limit | None = None
    learned: Allowance | None = None
    """What Grok told; None where there is only our guess, which is the configuration's to make."""

    last_used: int = 0
    doubted: bool = False
    """Grok has shown since that it counts otherwise than it told."""


class CredentialRecord(msgspec.Struct, frozen=True):
    """One credential. Holds cookies: `encode_record` shows them, a repr does not."""

    name: str
    kind: Kind
    origin: Origin
    cookies: Mapping[str, Secret]
    position: int
    last_used: int = 0
    disabled: Disabled | None = None
    ledgers: tuple[LedgerRecord, ...] = ()


class Changes(msgspec.Struct, frozen=True):
    """What a store must write to know what the pool knows."""

    records: tuple[CredentialRecord, ...] = ()
    """New or changed, whole."""

    removed: tuple[str, ...] = ()
    """Names of credentials that are no longer there."""

    def __bool__(self) -> bool:
        return bool(self.records or self.removed)


def record_credential(credential: Credential) -> CredentialRecord:
    """What is to be kept of a credential."""
    return CredentialRecord(
        name=credential.name,
        kind=credential.kind,
        origin=credential.origin,
        cookies=credential.cookies,
        position=credential.position,
        last_used=credential.last_used,
        disabled=credential.disabled,
        ledgers=tuple(
            LedgerRecord(
                group=ledger.group,
                used=ledger.used,
                window=ledger.window,
                limit=ledger.limit,
                learned=ledger.allowance if ledger.told else None,
                doubted=ledger.doubted,
                last_used=ledger.last_used,
            )
            for ledger in credential.ledgers.values()
            if not ledger.blank
        ),
    )


def restore_credential(record: CredentialRecord, quotas: Quotas) -> Credential:
    """A credential as it was kept, with nothing in flight."""
    credential = Credential(
        name=record.name,
        kind=record.kind,
        origin=record.origin,
        cookies=record.cookies,
        position=record.position,
        last_used=record.last_used,
        disabled=record.disabled,
    )
    for kept in record.ledgers:
        credential.ledgers[kept.group] = Ledger(
            credential=credential,
            group=kept.group,
            allowance=kept.learned or quotas.find(kept.group),
            told=kept.learned is not None,
            doubted=kept.doubted,
            used=kept.used,
            window=kept.window,
            limit=kept.limit,
            last_used=kept.last_used,
        )
    return credential


def encode_record(record: CredentialRecord) -> bytes:
    """A record as JSON, cookies in the clear. What comes out is a secret."""
    return _ENCODER.encode(record)


def decode_record(data: bytes) -> CredentialRecord:
    """Read what `encode_record` wrote.

    Raises:
        ConfigurationError: It is not that. No cookie is shown.
    """
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The cause may quote what it could not read; it is not kept.
        raise ConfigurationError("the record of a credential is damaged") from None


def _reveal(value: Any) -> str:
    assert isinstance(value, Secret)
    return value.reveal()


def _hide(type_: type, value: Any) -> Any:
    if type_ is not Secret or not isinstance(value, str):
        raise TypeError("a cookie must be a string")
    return Secret(value)


_ENCODER = msgspec.json.Encoder(enc_hook=_reveal)
_DECODER = msgspec.json.Decoder(CredentialRecord, dec_hook=_hide)

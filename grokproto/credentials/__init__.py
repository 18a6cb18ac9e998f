"""Which account a call is made with: the pool of credentials, and how credentials are read."""

from __future__ import annotations

from .cookies import parse_account, parse_guest
from .credential import Cause, Disabled, Kind, Origin
from .guests import GUEST_GROUP, GuestSettings
from .imports import Import, read_accounts
from .own import lease_own, parse_own
from .pool import CredentialPool
from .quota import DEFAULT_QUOTA, DEFAULT_QUOTAS, Allowance, Quotas, parse_quotas
from .refusal import Refusal
from .rota import Rotation
from .settings import PoolSettings
from .snapshot import (
    Changes,
    CredentialRecord,
    LedgerRecord,
    decode_record,
    encode_record,
)
from .status import CredentialStatus, GroupStatus, State

__all__ = [
    "DEFAULT_QUOTA",
    "DEFAULT_QUOTAS",
    "GUEST_GROUP",
    "Allowance",
    "Cause",
    "Changes",
    "CredentialPool",
    "CredentialRecord",
    "CredentialStatus",
    "Disabled",
    "GroupStatus",
    "GuestSettings",
    "Import",
    "Kind",
    "LedgerRecord",
    "Origin",
    "PoolSettings",
    "Quotas",
    "Refusal",
    "Rotation",
    "State",
    "decode_record",
    "encode_record",
    "lease_own",
    "parse_account",
    "parse_guest",
    "parse_own",
    "parse_quotas",
    "read_accounts",
]

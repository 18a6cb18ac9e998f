"""Exchanges that are driven in memory and recorded."""

from __future__ import annotations

import itertools
from typing import Any

from grokproto import commands as c
from grokproto import events as e
from grokproto.dialects import DIALECTS
from grokproto.models import ModelTable
from grokproto.settings import Settings
from grokproto.transcript import RecordedExchange, Recording
from tests.playbook import FakeHost, chat_body


def make_recorded(
    keep: list[Recording],
    body: bytes | None = None,
    *,
    dialect: str = "openai_chat",
    settings: Settings | None = None,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> RecordedExchange:
    """An exchange as the playbook makes it, whose recording is added to a list."""
    numbers = itertools.count()
    return RecordedExchange(
        chat_body() if body is None else body,
        dialect=DIALECTS[dialect],
        models=ModelTable(),
        settings=settings or Settings(),
        new_id=lambda: str(next(numbers)),
        created=1_700_000_000,
        headers=headers,
        on_end=keep.append,
        **more,
    )


def record(host: FakeHost, body: bytes | None = None, **more: Any) -> Recording:
    """Drive an exchange to its end; give the recording."""
    kept: list[Recording] = []
    host.run(make_recorded(kept, body, **more))
    (recording,) = kept
    return recording


def note_accounts(command: c.Command, event: e.Event) -> dict[str, Any]:
    """What a host might tell of its accounts."""
    lease = command.lease if isinstance(command, c.ReleaseCredential) else None
    if isinstance(event, e.CredentialAcquired):
        lease = event.lease
    name = "none" if lease is None else lease.credential
    return {
        "rotation": "balanced",
        "accounts": [
            {
                "name": name,
                "state": "cooling",
                "remaining": 3,
                "total": 20,
                "in_flight": 1,
                "reason": "Grok says “no more, Ulrike”.",
            },
            *(
                {
                    "name": f"other-{number}",
                    "state": "ready",
                    "remaining": None,
                    "total": None,
                    "in_flight": 0,
                    "reason": None,
                }
                for number in range(0 if isinstance(command, c.ReleaseCredential) else 9)
            ),
        ],
    }

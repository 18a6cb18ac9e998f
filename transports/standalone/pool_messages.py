"""What a worker and the process that has the pool tell each other: one JSON text a line.

  worker                      pool
  ------                      ----
                          <-  Setup           once, and first
  Listening               ->                  once
  Ask                     ->
                          <-  Granted, or Refused, at the latest when its patience is over
  Forget                  ->                  instead of waiting on; there may be an answer all the
                                              same, if the two crossed
  GiveBack                ->                  each lease once
  Instruct                ->
                          <-  Reported, or Objected; nothing where it has come too late
                          <-  Ping            now and then, once it listens
  Pong                    ->                  at once
                          <-  Stop            perhaps twice

Cookies go over this line in the clear. It is a pair of sockets that two processes of one user have,
and nobody else.
"""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import msgspec

from grokproto.events import NoCredential
from grokproto.failures import Failure
from grokproto.lease import Outcome, Quota
from grokproto.secret import Secret

from ..pool.orders import Order

T = TypeVar("T")


class _Message(msgspec.Struct, frozen=True, gc=False, tag=True, array_like=True):
    """One line."""


# From a worker.


class Listening(_Message, frozen=True):
    """It answers requests."""


class Ask(_Message, frozen=True):
    """A request wants a call."""

    number: int
    """Tells the questions of one worker apart."""
    group: str
    patience: float
    """Seconds that it may wait in line."""
    exclude: frozenset[str]
    avoid: frozenset[str]
    again: bool


class Forget(_Message, frozen=True):
    """Who asked is gone."""

    number: int


class GiveBack(_Message, frozen=True):
    """What became of a call."""

    serial: int
    """Of its lease."""
    outcome: Outcome
    failure: Failure | None = None
    quota: Quota | None = None


class Instruct(_Message, frozen=True):
    """Somebody wants to know of the accounts, or to change them."""

    number: int
    order: Order
    until: float
    """By `time.monotonic`, which is the same in all processes: what has not been begun by then must
    not be done any more, since whoever asked is told that it was not."""


class Pong(_Message, frozen=True):
    """It still does something."""


FromWorker: TypeAlias = Listening | Ask | Forget | GiveBack | Instruct | Pong


# To a worker.


class Setup(_Message, frozen=True):
    """What it is to be."""

    number: int
    """Its own, from 1; for logs."""
    variables: dict[str, Secret]
    """Its configuration."""
    demo: str | None
    """Where the simulated Grok is, if it is to talk to that."""


class Granted(_Message, frozen=True):
    """An answer to `Ask`; the fields after the first are those of the lease."""

    number: int
    serial: int
    credential: str
    group: str
    wants_quota: bool
    cookies: dict[str, Secret] | None
    """None where they are those that this worker was told of this credential before."""


class Refused(_Message, frozen=True):
    """The other answer."""

    number: int
    event: NoCredential


class Reported(_Message, frozen=True):
    """An answer to `Instruct`."""

    number: int
    answer: dict[str, Any]


class Objected(_Message, frozen=True):
    """The other answer; the fields are those of an `InvalidRequestError`."""

    number: int
    message: str
    param: str | None
    code: str | None
    status: int


class Ping(_Message, frozen=True):
    """Does it still do anything?"""


class Stop(_Message, frozen=True):
    """Let running requests finish, then end."""

    at_once: bool = False
    """Let them not."""


ToWorker: TypeAlias = Setup | Granted | Refused | Reported | Objected | Ping | Stop


def _reveal(value: Any) -> str:
    assert isinstance(value, Secret)
    return value.reveal()


def _hide(type_: type, value: Any) -> Any:
    assert type_ is Secret
    return Secret(value)


encode = msgspec.json.Encoder(enc_hook=_reveal).encode
"""A message as a line, without its end."""
decode_from_worker = msgspec.json.Decoder(FromWorker, dec_hook=_hide).decode
"""A line of a worker's."""
decode_to_worker = msgspec.json.Decoder(ToWorker, dec_hook=_hide).decode
"""A line to a worker."""

"""The rules of an exchange as tables: what answers what, and what may follow what.

An exchange goes through these phases. A failed attempt goes back to ACQUIRING with another
credential as long as the client has seen no content; everything may go to CLOSING, which gives
back what is held, and from there to DONE.

          ┌──────────────── another attempt ────────────────┐
          ▼                                                 │
  IDLE ► ACQUIRING ► UPLOADING ► ASKING ► READING ► FETCHING ► HOSTING
          │  ▲          (n times)            │          ▲         │
          ▼  │                               │          └─────────┘
        WAITING                              ▼
                          CHECKING ◄──── ANSWERING ► CLOSING ► DONE

A request that cannot be right is ANSWERING at once. One that links to pictures is RETRIEVING
first. One that wants several answers is DIVIDED from IDLE or RETRIEVING to ANSWERING, while each
answer goes through the phases in an exchange of its own. CHECKING is a call to `rest/rate-limits`:
to confirm that a cookie is refused before an account is written off for it, or to learn a quota
once the client has its answer.
"""

from __future__ import annotations

import enum

from . import commands as c
from . import events as e


class State(enum.Enum):
    """What an exchange is doing."""

    __hash__ = object.__hash__  # members are one of a kind; an exchange looks many up

    IDLE = "idle"
    """Not started."""
    RETRIEVING = "retrieving"
    """Fetching a picture that the client has linked to."""
    DIVIDED = "divided"
    """Several answers are made, each by an exchange of its own."""
    ACQUIRING = "acquiring"
    """Asking the pool for a credential."""
    WAITING = "waiting"
    """Waiting for a busy credential to become free."""
    UPLOADING = "uploading"
    """Uploading the client's pictures to Grok."""
    ASKING = "asking"
    """Waiting for the head of Grok's answer."""
    READING = "reading"
    """Reading Grok's answer, and passing it on where it is streamed."""
    FETCHING = "fetching"
    """Downloading a generated picture."""
    HOSTING = "hosting"
    """Uploading a generated picture to an image host."""
    CHECKING = "checking"
    """Asking Grok about the account rather than for an answer."""
    ANSWERING = "answering"
    """Sending the end of an answer, or the whole of one, to the client."""
    CLOSING = "closing"
    """Giving back what is held."""
    DONE = "done"
    """Over. Nothing is accepted any more."""


TRANSITIONS: dict[State, frozenset[State]] = {
    State.IDLE: frozenset({State.RETRIEVING, State.DIVIDED, State.ACQUIRING, State.ANSWERING}),
    State.RETRIEVING: frozenset(
        {State.RETRIEVING, State.DIVIDED, State.ACQUIRING, State.ANSWERING, State.CLOSING}
    ),
    State.DIVIDED: frozenset({State.ANSWERING, State.CLOSING}),
    State.ACQUIRING: frozenset(
        {State.WAITING, State.UPLOADING, State.ASKING, State.ANSWERING, State.CLOSING}
    ),
    State.WAITING: frozenset({State.ACQUIRING, State.CLOSING}),
    State.UPLOADING: frozenset(
        {State.UPLOADING, State.ASKING, State.CHECKING, State.ANSWERING, State.ACQUIRING}
        | {State.CLOSING}
    ),
    State.ASKING: frozenset(
        {State.READING, State.CHECKING, State.ANSWERING, State.ACQUIRING, State.CLOSING}
    ),
    State.READING: frozenset(
        {State.FETCHING, State.CHECKING, State.ANSWERING, State.ACQUIRING, State.CLOSING}
    ),
    State.FETCHING: frozenset(
        {State.FETCHING, State.HOSTING, State.CHECKING, State.ANSWERING, State.ACQUIRING}
        | {State.CLOSING}
    ),
    State.HOSTING: frozenset({State.HOSTING, State.FETCHING, State.ANSWERING, State.CLOSING}),
    State.CHECKING: frozenset({State.ACQUIRING, State.ANSWERING, State.CLOSING}),
    State.ANSWERING: frozenset({State.CHECKING, State.CLOSING}),
    State.CLOSING: frozenset({State.DONE}),
    State.DONE: frozenset(),
}
"""For each state, those that may follow it."""

_LEFT: tuple[type[e.Event], ...] = (e.ClientClosed,)
_STOPPED: tuple[type[e.Event], ...] = (e.ClientClosed, e.ServerStopping)
"""In the middle of sending, nothing can be said any more; hence not for the commands that send."""
_BROKE: tuple[type[e.Event], ...] = (e.RequestFailed, e.TimedOut, *_STOPPED)

REPLIES: dict[type[c.Command], tuple[type[e.Event], ...]] = {
    c.AcquireCredential: (e.CredentialAcquired, e.NoCredential, *_STOPPED),
    c.SendRequest: (e.ResponseReceived, *_BROKE),
    c.ReceiveResponse: (e.ResponseReceived, *_BROKE),
    c.ReceiveData: (e.DataReceived, e.EndOfMessage, *_BROKE),
    c.SendResponse: (e.Completed, *_LEFT),
    c.SendData: (e.Completed, *_LEFT),
    c.EndResponse: (e.Completed, *_LEFT),
    c.FetchPicture: (e.PictureFetched, e.PictureRefused, *_STOPPED),
    c.FetchPreview: (e.PictureFetched, e.PictureRefused, *_STOPPED),
    c.StorePicture: (e.PictureStored, e.RequestFailed, *_STOPPED),
    c.Fork: (e.Completed, *_STOPPED),
    c.Wait: (e.Completed, *_STOPPED),
    c.CloseRequest: (e.Completed,),
    c.ReleaseCredential: (e.Completed,),
    c.Finish: (),
}
"""For each command, the events that may answer it. A command that takes `ClientClosed` may wait;
one that does not never does."""

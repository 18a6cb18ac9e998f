"""Answer events: what an answer consists of, in nobody's dialect.

`grokproto.grok.reader.AnswerReader` makes them from Grok's bytes, the filters change some, a
dialect encoder turns them into the client's bytes.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import attrs

from .failures import Failure


@attrs.frozen
class Text:
    """A piece of the answer itself, one for each token of Grok's; never empty."""

    text: str


@attrs.frozen
class Reasoning:
    """A piece of the model's thinking; never empty."""

    text: str


@attrs.frozen
class SearchResult:
    """One page or post that Grok looked at."""

    title: str
    """Title of the page, or the text of the post; may be empty."""

    url: str


class SearchSource(enum.Enum):
    """Where Grok searched."""

    WEB = "web"
    X = "x"


@attrs.frozen
class SearchResults:
    """Results that were not reported before, in Grok's order; never empty."""

    source: SearchSource
    results: tuple[SearchResult, ...]


@attrs.frozen
class Citation:
    """The address of a page that the answer cites; each address is reported once."""

    url: str


@attrs.frozen
class Image:
    """A finished picture that passed moderation; each is reported once.

    `address` is as the wire had it, less a leading slash: a path under the assets host
    (`users/...`), or an absolute address.
    """

    address: str


class EndReason(enum.Enum):
    """Why an answer ended, where it ended cleanly."""

    STOP = "stop"
    """The model was done."""

    MODERATED = "moderated"
    """Nothing but pictures that moderation held back."""


@attrs.frozen
class Ended:
    """The answer is complete. Nothing follows."""

    reason: EndReason = EndReason.STOP


@attrs.frozen
class Failed:
    """The answer broke off. Nothing follows, and what came before is not the whole."""

    failure: Failure


@attrs.frozen
class Usage:
    """What an answer cost, in tokens; estimates, since Grok does not say (`grokproto.usage`)."""

    prompt_tokens: int
    completion_tokens: int
    """Reasoning included."""

    reasoning_tokens: int = 0


AnswerEvent: TypeAlias = Text | Reasoning | SearchResults | Citation | Image | Ended | Failed

"""Answer events: what an answer consists of, in nobody's dialect.

`grokproto.grok.reader.AnswerReader` makes them from Grok's bytes, the filters change some, a
dialect encoder turns them into the client's bytes.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import ClassVar, TypeAlias

import msgspec

from .failures import Failure
from .quiet import Quiet


class Text(msgspec.Struct, frozen=True):
    """A piece of the answer itself, one for each token of Grok's; never empty."""

    text: str


class Reasoning(msgspec.Struct, frozen=True):
    """A piece of the model's thinking; never empty."""

    text: str


class Run(msgspec.Struct, frozen=True, gc=False):
    """Several `Text`s, or several `Reasoning`s, that came together; the same as they, but cheaper.

    Nobody has to make runs, and nobody has to take them: `events` gives what they stand for.
    """

    tokens: list[bytes]
    """What JSON has between the quotes for each; none is empty."""

    text: str
    """All of it."""

    thinking: bool = False

    def events(self) -> list[Text | Reasoning]:
        """The events that this stands for."""
        kind = Reasoning if self.thinking else Text
        return [kind(_decode_text(b'"' + token + b'"')) for token in self.tokens]


NO_RUN = Run([], "")
"""What comes in the place of a run that is left out."""

_decode_text = msgspec.json.Decoder(str).decode


class SearchResult(msgspec.Struct, frozen=True):
    """One page or post that Grok looked at."""

    title: str = ""
    """Title of the page, or the text of the post; may be empty."""

    url: str = ""


class SearchSource(enum.Enum):
    """Where Grok searched."""

    WEB = "web"
    X = "x"


class SearchResults(msgspec.Struct, frozen=True):
    """Results that were not reported before, in Grok's order; never empty."""

    source: SearchSource
    results: tuple[SearchResult, ...]


class Citation(msgspec.Struct, frozen=True):
    """What a card of the answer stands for. Each card is reported once, before or after the text
    that cites it."""

    url: str
    card: str = ""
    """The card's id, which `Cited` has."""


class Cited(msgspec.Struct, frozen=True):
    """The text before this cites the page of a card."""

    card: str


class CitedText(msgspec.Struct, frozen=True):
    """Text that is a citation, or the place of one; the filters make it of `Cited`."""

    text: str
    """Empty where nothing shows the citation in the text."""

    start: int
    """Where it begins in the content, in code points."""

    url: str
    title: str = ""
    annotated: bool = True
    """The client wants to be told of it beside the text."""

    @property
    def end(self) -> int:
        """Where it ends in the content, in code points."""
        return self.start + len(self.text)


class Sources(msgspec.Struct, frozen=True):
    """All that was found and cited, for a list beside the answer; comes right before its end."""

    results: tuple[SearchResult, ...]
    cited: tuple[str, ...]
    """Addresses; the first is the one that `[[1]]` links to."""


class Image(Quiet, frozen=True):
    """A finished picture that passed moderation; each is reported once.

    `address` is as the wire had it, less a leading slash: a path under the assets host
    (`users/...`), or an absolute address.
    """

    address: str


class Preview(msgspec.Struct, frozen=True):
    """An unfinished state of a picture that is being drawn; each is reported once.

    The finished one, if it passes moderation, comes later as an `Image`.
    """

    address: str
    """As in `Image`."""


class PartialPicture(Quiet, frozen=True):
    """An unfinished picture that is ready for the client."""

    UNSHOWN: ClassVar = ("data",)

    data: bytes


class Picture(Quiet, frozen=True):
    """A picture that is ready for the client."""

    UNSHOWN: ClassVar = ("data",)

    link: str
    """An address, or a data URI."""

    data: bytes | None = None
    """The picture itself, where it was fetched."""


class Unknown(msgspec.Struct, frozen=True):
    """A name in Grok's frames that nobody here knows. It is no event, but told beside them."""

    name: str
    """`?` where it looks like data."""

    times: int
    """How often it was seen; not all frames are looked at."""

    shape: str
    """What kinds of values it has, such as `{on: boolean, layers: [{depth: number}]}`."""


def add_up(unknown: Iterable[Unknown]) -> tuple[Unknown, ...]:
    """Make one of those of a name."""
    total: dict[str, Unknown] = {}
    for each in unknown:
        known = total.get(each.name)
        times = each.times + (0 if known is None else known.times)
        total[each.name] = Unknown(each.name, times, each.shape if known is None else known.shape)
    return tuple(total.values())


class EndReason(enum.Enum):
    """Why an answer ended, where it ended cleanly."""

    STOP = "stop"
    """The model was done."""

    LENGTH = "length"
    """It has as many tokens as the client allowed."""

    MODERATED = "moderated"
    """Nothing but pictures that moderation held back."""


class Ended(msgspec.Struct, frozen=True):
    """The answer is complete. Nothing follows."""

    reason: EndReason = EndReason.STOP


class Failed(msgspec.Struct, frozen=True):
    """The answer broke off. Nothing follows, and what came before is not the whole."""

    failure: Failure


class Usage(msgspec.Struct, frozen=True):
    """What an answer cost, in tokens; estimates, since Grok does not say (`grokproto.usage`)."""

    prompt_tokens: int
    completion_tokens: int
    """Reasoning included."""

    reasoning_tokens: int = 0


AnswerEvent: TypeAlias = (
    Text
    | Reasoning
    | SearchResults
    | Citation
    | Cited
    | CitedText
    | Sources
    | Image
    | Preview
    | PartialPicture
    | Picture
    | Ended
    | Failed
)

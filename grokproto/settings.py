"""What an operator can set about an exchange. Reading it from somewhere is the host's job."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping

import msgspec

from .secret import Secret

DEFAULT_USER_AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/133.0.0.0 Safari/537.36"
)


class ThinkingFormat(enum.Enum):
    """How a client is given the model's thinking."""

    THINK = "think"
    """`<think>...</think>` opens the content."""
    REASONING_CONTENT = "reasoning_content"
    """A field of its own beside the content."""
    HIDDEN = "hidden"
    """Not at all."""


class SearchFormat(enum.Enum):
    """A way of giving a client what Grok found on the web. They go together."""

    FRONT = "front"
    """A list of all results, in front of the answer."""
    INLINE = "inline"
    """A link in the text where Grok cites: `[[1]](https://...)`."""
    ANNOTATIONS = "annotations"
    """OpenAI's `annotations` of type `url_citation`, beside the text."""
    LIST = "list"
    """`citations` and `search_results` at the root of the answer."""


class ImageMode(enum.Enum):
    """Where a client finds the pictures that Grok draws."""

    DATA = "data"
    """In the answer itself, as a data URI."""
    HOST = "host"
    """On an image host; as a data URI where none takes it."""
    LOCAL = "local"
    """On this server."""
    UPSTREAM = "upstream"
    """Where Grok keeps them, which only the account that drew them may see."""


class LongInput(enum.Enum):
    """What becomes of a conversation that is too long for one message."""

    FILE = "file"
    """All but the last question goes up as a text file."""
    SEND = "send"
    """It is sent as it is."""
    REFUSE = "refuse"
    """The client is told."""


class ImageHost(msgspec.Struct, frozen=True):
    """An image host to which generated pictures are uploaded for the client to link to."""

    kind: str
    """A name in `grokproto.images.hosts.HOSTS`: `tumy` or `picgo`."""

    base_url: str
    key: Secret


class Settings(msgspec.Struct, frozen=True):
    """Everything an exchange wants to know besides the request. Times are in seconds."""

    base_url: str = "https://grok.com"
    """Where Grok's API is, without a trailing slash."""

    assets_url: str = "https://assets.grok.com"
    """Where pictures with a relative address are, without a trailing slash."""

    user_agent: str = DEFAULT_USER_AGENT
    headers: Mapping[str, Secret] = msgspec.field(default_factory=dict)
    """Further headers for grok.com, such as `x-statsig-id`; they win over ours."""

    cookies: Mapping[str, Secret] = msgspec.field(default_factory=dict)
    """Further cookies for grok.com, such as `cf_clearance`."""

    temporary: bool = False
    """Ask for private chats, which grok.com does not keep."""

    thinking: ThinkingFormat = ThinkingFormat.THINK
    search: frozenset[SearchFormat] = frozenset()
    """How what Grok found is shown, where the request does not say."""

    strict_params: bool = False
    """Refuse a request with a parameter that cannot be heeded, rather than name it in a header."""

    image_mode: ImageMode = ImageMode.HOST
    image_hosts: tuple[ImageHost, ...] = ()
    """Tried in order; where all fail, a picture is given as a data URI."""

    fetch_images: bool = True
    """Fetch pictures that a request links to."""

    fetch_timeout: float = 20.0
    """For one such picture, all in all."""

    long_input: LongInput = LongInput.FILE
    long_input_chars: int = 40_000
    """Characters of the message above which it counts as long."""

    own_cookie: bool = False
    """The credential is the client's own key, so its refusal is the client's to hear: 401."""

    max_attempts: int = 3
    """Credentials tried for one request, at the most."""

    acquire_wait: float = 0.0
    """How long a request may wait for a busy credential."""

    quota_probe: bool = True
    """Ask `rest/rate-limits` about a quota that the pool has only guessed."""

    first_byte_timeout: float = 60.0
    """For the head of any upstream response."""

    idle_timeout: float = 60.0
    """For the next bytes of any upstream body."""

    total_timeout: float = 3600.0
    """For a whole upstream response, from the request to its end: one that drips has no other."""

    ping_interval: float = 15.0
    """A streaming client hears a comment after this much silence."""

    max_line_bytes: int = 16 * 1024 * 1024
    """A longer line of Grok's is a fault. Pictures in base64 make lines of several MB."""

    max_answer_bytes: int = 64 * 1024 * 1024
    """A longer answer is a fault: it has no end, or somebody wants to fill our memory."""

    max_image_bytes: int = 32 * 1024 * 1024
    """A larger generated picture is not fetched to its end."""

    def __post_init__(self) -> None:
        """Look at what would else be taken for something else, without a word.

        Raises:
            TypeError: It is of another type than it must be.
        """
        _check("thinking", [self.thinking], ThinkingFormat)
        _check("search", self.search, SearchFormat)
        _check("image_mode", [self.image_mode], ImageMode)
        _check("long_input", [self.long_input], LongInput)
        _check("headers", self.headers.values(), Secret)
        _check("cookies", self.cookies.values(), Secret)


def _check(name: str, values: Iterable[object], kind: type) -> None:
    for value in values:
        if not isinstance(value, kind):  # what it is instead may be a secret
            raise TypeError(f"{name}: {type(value).__name__} instead of {kind.__name__}")

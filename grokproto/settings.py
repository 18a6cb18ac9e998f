"""What an operator can set about an exchange. Reading it from somewhere is the host's job."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

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


@attrs.frozen
class ImageHost:
    """An image host to which generated pictures are uploaded for the client to link to."""

    kind: str
    """A name in `grokproto.images.hosts.HOSTS`: `tumy` or `picgo`."""

    base_url: str
    key: Secret


@attrs.frozen
class Settings:
    """Everything an exchange wants to know besides the request. Times are in seconds."""

    base_url: str = "https://grok.com"
    """Where Grok's API is, without a trailing slash."""

    assets_url: str = "https://assets.grok.com"
    """Where pictures with a relative address are, without a trailing slash."""

    user_agent: str = DEFAULT_USER_AGENT
    headers: Mapping[str, Secret] = attrs.field(factory=dict)
    """Further headers for grok.com, such as `x-statsig-id`; they win over ours."""

    cookies: Mapping[str, Secret] = attrs.field(factory=dict)
    """Further cookies for grok.com, such as `cf_clearance`."""

    temporary: bool = False
    """Ask for private chats, which grok.com does not keep."""

    thinking: ThinkingFormat = ThinkingFormat.THINK
    show_search_results: bool = False
    """Put the search results in front of the answer."""

    image_hosts: tuple[ImageHost, ...] = ()
    """Tried in order; where all fail, a picture is given as a data URI."""

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

    ping_interval: float = 15.0
    """A streaming client hears a comment after this much silence."""

    max_line_bytes: int = 16 * 1024 * 1024
    """A longer line of Grok's is a fault. Pictures in base64 make lines of several MB."""

    max_answer_bytes: int = 64 * 1024 * 1024
    """A longer answer is a fault: it has no end, or somebody wants to fill our memory."""

    max_image_bytes: int = 32 * 1024 * 1024
    """A larger generated picture is not fetched to its end."""

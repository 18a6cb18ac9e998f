"""Which pictures may be fetched for a client: their addresses, judged before anything is sent.

The address comes from a stranger, and the one who fetches sits inside somebody's network. So

1. an address is taken apart here, once, and everybody works with the parts: two readers of one
   address may find two hosts in it;
2. what a host's name leads to is judged address by address, and one that is not public spoils them
   all: nobody has a picture for strangers next to a router;
3. whoever connects does so to an address that was judged, and asks no resolver again;
4. a redirect begins at 1;
5. a name that leads nowhere and one that leads inside are told in the same words, so that nobody
   learns the names of a network by asking for pictures.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from ..errors import GrokprotoError

Address: TypeAlias = IPv4Address | IPv6Address

MAX_URL = 8 * 1024
"""Characters. Signed addresses of picture stores have 2,000 and more."""
PORTS = frozenset({80, 443, 8080, 8443})
"""Where pictures are. On most other ports something listens that is not for browsers."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{0,5}))?", re.ASCII)
"""Host and port. `urlsplit` finds some even where they are torn apart."""
_NAME = re.compile(r"(?=.{1,253}\Z)(?:[a-zA-Z0-9_-]{1,63}\.)*[a-zA-Z0-9_-]{1,63}", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_PATH = "/%:@!$&'()*+,;=~-._"
_QUERY = _PATH + "?"

_FORBIDDEN_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; 0.0.0.0 is this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by the customers of a carrier; a cloud's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's metadata, on an address that looks public
        "169.254.0.0/16",  # link-local; the metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved; broadcast
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
"""All that is given out for the internet. Outside are loopback, link-local, unique-local and
multicast, and IPv4 addresses in disguise: mapped, compatible, and behind NAT64 (64:ff9b::)."""
_FORBIDDEN_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments; tunnels through NAT, which hold IPv4 addresses
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which holds IPv4 addresses
        "3fff::/20",  # documentation
    )
)


class Fault(enum.Enum):
    """Who can do something about a picture that was not fetched."""

    CLIENT = "client"
    """Who linked to it: the address is wrong, or what is there is no picture that we take."""
    FAR_END = "far end"
    """Whoever serves it; later it may be had."""


class PictureFetchError(GrokprotoError):
    """A picture that a client linked to cannot be had.

    Args:
        reason: Why, for the client; it goes behind "the picture could not be fetched: ".
        fault: Who can do something about it.
    """

    def __init__(self, reason: str, fault: Fault) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fault = fault


class Target(msgspec.Struct, frozen=True):
    """An address, taken apart."""

    scheme: str
    """http or https."""

    host: str
    """A name in lower case, or an IP address without brackets."""

    port: int

    path: str
    """Path and query as they stand in a request; ASCII."""

    @property
    def url(self) -> str:
        """The address in one piece."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """The host, and the port where it is not the scheme's own: what the header `Host` says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def literal(self) -> Address | None:
        """The host where it is an IP address; None where it is a name to look up."""
        return _read_literal(self.host)


def read_target(url: str) -> Target:
    """Take the address of a picture apart.

    Raises:
        PictureFetchError: It is not an http or https address that could be fetched.
    """
    if len(url) > MAX_URL:
        raise _refuse(f"its address is longer than {MAX_URL} characters")
    if any(char <= " " or char in "\\\x7f" for char in url):
        raise _refuse("its address has a space, a backslash or a control character in it")
    try:
        parts = urlsplit(url)
    except ValueError as exc:
        raise _refuse("its address cannot be read") from exc
    if parts.scheme not in _DEFAULT_PORTS:
        raise _refuse("its address must begin with https:// or http://")
    if "@" in parts.netloc:
        raise _refuse("its address has a user or a password in it")
    found = _AUTHORITY.fullmatch(parts.netloc)
    if found is None:
        raise _refuse("its address has a host or a port that cannot be read")
    port = int(found[2] or _DEFAULT_PORTS[parts.scheme])
    if not 0 < port < 65536:
        raise _refuse("its address has a port that cannot be")
    path = quote(parts.path or "/", _PATH, errors="replace")
    query = quote(parts.query, _QUERY, errors="replace")
    return Target(
        parts.scheme,
        _read_host(found[1]),
        port,
        f"{path}?{query}" if query else path,
    )


def follow_redirect(target: Target, location: str) -> Target:
    """Where a redirect leads, taken apart like any other address.

    Raises:
        PictureFetchError: Into nowhere that could be fetched.
    """
    try:
        return read_target(urljoin(target.url, location))
    except ValueError as exc:
        raise _refuse("it redirects to an address that cannot be read") from exc


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet's, and of nothing else."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _FORBIDDEN_V4)
    return address in _GLOBAL_V6 and not any(address in network for network in _FORBIDDEN_V6)


def is_allowed(address: Address, port: int) -> bool:
    """Whether a picture may be fetched from there."""
    return port in PORTS and is_public(address)


def read_addresses(texts: Iterable[str]) -> list[Address]:
    """What a resolver found, without repetitions. What is no address is 0.0.0.0, which is none to
    go to: one that cannot be judged must not be left out of the judgement."""
    found: dict[Address, None] = {}
    for text in texts:
        try:
            found[ip_address(text)] = None
        except ValueError:
            found[IPv4Address(0)] = None
    return list(found)


def refuse_address() -> PictureFetchError:
    """The refusal of a host that leads nowhere, or where nobody may go; see rule 5."""
    return _refuse("its host has no public address, or its port is not one that is fetched from")


def _refuse(reason: str) -> PictureFetchError:
    return PictureFetchError(reason, Fault.CLIENT)


def _read_host(host: str) -> str:
    if host.startswith("["):
        literal = _read_literal(host[1:-1])
        # A zone is the name of one of our own network interfaces.
        if not isinstance(literal, IPv6Address) or literal.scope_id is not None:
            raise _refuse("its address has a host that cannot be read")
        return literal.compressed
    host = host.removesuffix(".")
    if _NAME.fullmatch(host) is None:
        raise _refuse("its address has a host that cannot be read; others than ASCII go as xn--")
    host = host.lower()  # not earlier: letters that are not ASCII may become some
    # Resolvers take 127.1, 2130706433 and 0x7f.1 for addresses. Nobody links to pictures that way.
    if _NUMBER.fullmatch(host.rpartition(".")[2]) and _read_literal(host) is None:
        raise _refuse("its address has a host that cannot be read")
    return host


def _read_literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None

"""Reading the values of variables: what each kind of value must be, said in a clause.

A converter takes the text of a variable and gives its value, or raises `BadValueError` with a
clause that lacks its subject: `declare` puts the variable's name in front. No clause shows a
secret.
"""

from __future__ import annotations

import enum
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

import environ

from grokproto.errors import ConfigurationError
from grokproto.grok.headers import check_header
from grokproto.secret import Secret

from .pool.state_file import MEMORY

T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)

# Python reads more as numbers than people write: digits of any script, and 1_000.
_WHOLE = re.compile("[0-9]+")
_DECIMAL = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(e[0-9]{1,3})?")
_GRAPHIC = re.compile("[!-~]+")
_HOST_NAME = re.compile(r"[0-9a-z_-]{1,63}(\.[0-9a-z_-]{1,63})*\.?", re.IGNORECASE)
_LONGEST_HOST_NAME = 253


class BadValueError(ValueError):
    """A value cannot be right; the text says what it must be."""


def declare(name: str, default: str | None, convert: Callable[[str], T], help_: str) -> T | Any:
    """Declare a variable. A default is written as a user would write it."""

    def named(value: Any) -> Any:
        if not isinstance(value, str):
            return value  # no default, or converted before (`attrs.evolve`)
        try:
            value.encode()
        except UnicodeEncodeError:  # how Python shows bytes of the environment that are none
            raise ConfigurationError(f"{name} is not UTF-8") from None
        try:
            return convert(value)
        except (BadValueError, ConfigurationError) as exc:
            raise ConfigurationError(f"{name} {exc}") from None

    return environ.var(default, converter=named, name=name, help=help_)


def read_flag(text: str) -> bool:
    match text.strip().lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
    raise BadValueError("must be true or false")


def read_whole(least: int, most: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        digits = text.strip()
        value = int(digits) if _WHOLE.fullmatch(digits) and len(digits) < 100 else -1
        if not least <= value <= most:
            raise BadValueError(f"must be a whole number from {least} to {most}")
        return value

    return convert


def read_seconds(least: float, most: float = 86400.0) -> Callable[[str], float]:
    def convert(text: str) -> float:
        digits = text.strip()
        value = float(digits) if _DECIMAL.fullmatch(digits) else -1.0
        if not least <= value <= most:
            raise BadValueError(f"must be a number of seconds from {least:g} to {most:g}")
        return value

    return convert


def read_one_of(*choices: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        value = text.strip().lower()
        if value not in choices:
            raise BadValueError(f"must be one of {', '.join(choices)}")
        return value

    return convert


def read_some_of(kind: type[E]) -> Callable[[str], frozenset[E]]:
    known = {str(member.value): member for member in kind}

    def convert(text: str) -> frozenset[E]:
        words = [word.strip().lower() for word in text.split(",") if word.strip()]
        if words == ["none"]:
            return frozenset()
        if any(word not in known for word in words):
            raise BadValueError(f"must be none, or some of {', '.join(known)}")
        return frozenset(known[word] for word in words)

    return convert


def read_optional_base_url(text: str) -> str:
    return read_base_url(text) if text.strip() else ""


def read_base_url(text: str) -> str:
    url = text.strip().rstrip("/")
    parts = _split_address(url)
    if (
        parts is None
        or parts.scheme not in ("http", "https")
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise BadValueError("must be an address such as https://grok.com, in ASCII")
    return parts.scheme + url[len(parts.scheme) :]  # which may be written in capitals


def read_proxy(text: str) -> Secret:
    address = text.strip()
    parts = _split_address(address)
    if parts is None or parts.scheme not in ("http", "https", "socks5", "socks5h"):
        raise BadValueError(
            "must be an http, https, socks5 or socks5h address such as http://127.0.0.1:8080"
        )
    if not unquote(parts.netloc.rpartition("@")[0]).isascii():
        raise BadValueError("has a name or password with characters that no proxy is sent")
    return Secret(parts.scheme + address[len(parts.scheme) :])


def _split_address(text: str) -> SplitResult | None:
    """The parts of an address that a connection can be made to; None where it is none."""
    try:
        parts = urlsplit(text)
        usable = parts.port != 0 and _is_host(parts.hostname or "", "[" in parts.netloc)
    except ValueError:
        return None
    # What is not ASCII would have to be encoded, by rules that not everybody shares.
    return parts if usable and _GRAPHIC.fullmatch(text) else None


def _is_host(text: str, in_brackets: bool) -> bool:
    """Whether it may be looked up, or be connected to."""
    if in_brackets:
        return is_address(text)
    return _HOST_NAME.fullmatch(text) is not None and len(text) <= _LONGEST_HOST_NAME


def is_address(text: str) -> bool:
    """Whether it is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def read_host(text: str) -> str:
    host = text.strip()
    if not host.startswith("["):
        return host
    if not host.endswith("]") or not is_address(host[1:-1]):
        raise BadValueError("must be a name or an address such as 127.0.0.1 or ::1")
    return host[1:-1]


def read_header_value(name: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        try:
            check_header(name, text.strip())
        except ConfigurationError:
            raise BadValueError("has characters that no header may have") from None
        return text.strip()

    return convert


def read_secret_header_value(name: str) -> Callable[[str], Secret]:
    check = read_header_value(name)
    return lambda text: Secret(check(text))


def read_headers(text: str) -> Mapping[str, Secret]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or not all(isinstance(v, str) for v in fields.values()):
        raise BadValueError('must be a JSON object of texts, such as {"x-statsig-id": "..."}')
    for name, value in fields.items():
        check_header(name, value)
        if name.lower() in ("cookie", "host", "content-length", "transfer-encoding"):
            raise BadValueError(f"must not hold {name}: it is set for each call")
    return {name.lower(): Secret(value) for name, value in fields.items()}


def read_path(text: str) -> Path:
    if "\0" in text:  # an environment cannot have it, a file of variables can
        raise BadValueError("has a character that no path may have")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise BadValueError("begins with ~ for a home that is not known here") from None


def read_state(text: str) -> str:
    return text if text == MEMORY else str(read_path(text))

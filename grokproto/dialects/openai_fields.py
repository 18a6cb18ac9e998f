"""Reading fields of a JSON body: absent and null are the same; a wrong one names its path."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from ..errors import InvalidRequestError

E = TypeVar("E", bound=enum.Enum)

_BOM = b"\xef\xbb\xbf"
_HALF = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
_TYPES = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
_decoder = msgspec.json.Decoder(dict[str, Any])


def decode_object(body: bytes) -> dict[str, Any]:
    """Read a body that is to be a JSON object, whatever is in it.

    Raises:
        InvalidRequestError: It is none.
        TypeError: It is a text, or something else that is not bytes.
    """
    if not isinstance(body, bytes | bytearray):
        raise TypeError(f"a body is bytes, not {type(body).__name__}; json.dumps(...).encode()")
    try:
        return _decoder.decode(body.removeprefix(_BOM))
    except msgspec.ValidationError as exc:
        if "out of range" in str(exc):
            raise InvalidRequestError("The body has a number that is out of range.") from None
        raise InvalidRequestError("The body must be a JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        if _has_half_a_pair(body, str(exc)):
            raise InvalidRequestError(
                "The body has half of a surrogate pair in a string (such as \\ud83d without the "
                "other half), which is no character; was a text cut in the middle of an emoji?"
            ) from None
        raise InvalidRequestError(f"The body is not JSON: {exc}.") from exc
    except RecursionError:
        raise InvalidRequestError("The body is nested too deeply.") from None


def _has_half_a_pair(body: bytes, told: str) -> bool:
    """Whether that is what the decoder stumbled over. It takes the first half for the end."""
    if "surrogate pair" in told:
        return True
    return "truncated" in told and body.rstrip().endswith(b"}") and _HALF.search(body) is not None


def wrong(path: str, problem: str) -> InvalidRequestError:
    """The error for a field that cannot be right."""
    return InvalidRequestError(f"{path} {problem}", param=path)


def name_type(value: Any) -> str:
    """What a JSON value is, with its article."""
    return _TYPES.get(type(value), "null" if value is None else "a number")


def read_flag(value: Any, path: str) -> bool:
    """True or false; false where there is none."""
    if value is None:
        return False
    if not isinstance(value, bool):
        raise wrong(path, f"must be true or false, not {name_type(value)}.")
    return value


def read_text(value: Any, path: str) -> str:
    """A string, which must be there."""
    if not isinstance(value, str):
        raise wrong(path, f"must be a string, not {name_type(value)}.")
    return value


def read_whole(value: Any, path: str, least: int, most: int | None = None) -> int | None:
    """A whole number within bounds."""
    if value is None:
        return None
    span = f"{least} or more" if most is None else f"from {least} to {most}"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(path, f"must be a whole number {span}.")
    if value < least or (most is not None and value > most):
        raise wrong(path, f"must be a whole number {span}, not {str(value)[:20]}.")
    return value


def read_choice(value: Any, path: str, choices: Iterable[str]) -> str | None:
    """One of a few words."""
    if value is None:
        return None
    words = list(choices)
    if not isinstance(value, str) or value not in words:
        raise wrong(path, f"must be one of {', '.join(words)}.")
    return value


def read_member(value: Any, path: str, kind: type[E]) -> E | None:
    """One of an enumeration, by its value."""
    word = read_choice(value, path, (str(member.value) for member in kind))
    return None if word is None else kind(word)

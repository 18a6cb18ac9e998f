"""Reading fields of a JSON body: absent and null are the same; a wrong one names its path."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from ..errors import InvalidRequestError

E = TypeVar("E", bound=enum.Enum)

_BOM = b"\xef\xbb\xbf"
_TYPES = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
_decoder = msgspec.json.Decoder(dict[str, Any])


def decode_object(body: bytes) -> dict[str, Any]:
    """Read a body that is to be a JSON object, whatever is in it.

    Raises:
        InvalidRequestError: It is none.
    """
    try:
        return _decoder.decode(body.removeprefix(_BOM))
    except msgspec.ValidationError:
        raise InvalidRequestError("The body must be a JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidRequestError(f"The body is not JSON: {exc}.") from exc
    except RecursionError:
        raise InvalidRequestError("The body is nested too deeply.") from None


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

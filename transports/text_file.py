"""Reading a file that configures something: a text, of a size that such files have."""

from __future__ import annotations

from pathlib import Path

MAX_BYTES = 4 << 20
"""Thousands of accounts are one. A device may have no end."""


class UnreadableError(Exception):
    """The file cannot be read; the text is a clause that says why."""


def read_text_file(path: Path) -> str:
    """The text in a file, without a byte order mark, which editors put in front on Windows.

    Raises:
        FileNotFoundError: There is none.
        UnreadableError: It cannot be read, or is larger than `MAX_BYTES`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise UnreadableError(exc.strerror) from exc
    if len(data) > MAX_BYTES:
        raise UnreadableError(f"it is larger than {MAX_BYTES >> 20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise UnreadableError("it is not UTF-8") from exc

"""Values whose repr leaves some of their fields out, and does not show all of what is long."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

_MOST = 200
"""Characters or bytes of one field that are shown."""


class Quiet(msgspec.Struct, frozen=True):
    """A value whose repr, and so every log and traceback, leaves out the fields in `UNSHOWN`.

    Of a long text it shows the beginning.
    """

    UNSHOWN: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({inside})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The fields as they are shown; `rich` asks for them, and other Structs give all."""
        shown = (name for name in self.__struct_fields__ if name not in self.UNSHOWN)
        return [(name, _shorten(getattr(self, name))) for name in shown]


def _shorten(value: object) -> object:
    match value:
        case str() if len(value) > _MOST:
            return value[:_MOST] + "…"
        case bytes() if len(value) > _MOST:
            return value[:_MOST] + b"..."
    return value

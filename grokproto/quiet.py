"""Values whose repr leaves some of their fields out: what is private, and what is too long."""

from __future__ import annotations

from typing import ClassVar

import msgspec


class Quiet(msgspec.Struct, frozen=True):
    """A value whose repr, and so every log and traceback, leaves out the fields in `UNSHOWN`."""

    UNSHOWN: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        shown = (name for name in self.__struct_fields__ if name not in self.UNSHOWN)
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__name__}({inside})"

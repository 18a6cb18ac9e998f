"""Second tries after faults that are nobody's: few enough that a storm does not double the load.

A request whose first call met a network fault or a 5xx does well to make another. When all of them
do, whoever is down gets twice the calls. So there are some tries in hand, each of them taken once,
and ten calls that are served make up for one: a fault now and then has its second try, and a storm
has a handful in all.
"""

from __future__ import annotations

IN_HAND = 10
_SERVED_FOR_ONE = 10


class Retries:
    """The second tries that are left."""

    def __init__(self) -> None:
        self._tenths = IN_HAND * _SERVED_FOR_ONE

    @property
    def left(self) -> bool:
        """Whether there is one."""
        return self._tenths >= _SERVED_FOR_ONE

    def take(self) -> None:
        """One is made."""
        self._tenths -= _SERVED_FOR_ONE

    def note_served(self) -> None:
        """A call went well."""
        self._tenths = min(IN_HAND * _SERVED_FOR_ONE, self._tenths + 1)

"""What is left when nobody closes it, in threads: giving it up where no lock can be in the way.

The garbage collector stops a thread anywhere, and has it run finalizers there: of objects in
cycles, and of generators with all that their `finally` does. Where the thread holds a lock at that
moment (of the accounts, of a log), a finalizer that wants the same one waits for good. So:

1. What needs cleaning up is held here until it is over, so that the collector never takes it for
   garbage itself, and does not end it.
2. Whatever a finalizer would do is left to a thread, by a queue that needs no lock of ours.
"""

from __future__ import annotations

import gc
import queue
import threading
from collections.abc import Callable
from typing import Any

from ..logs import get_logger

_collectors: set[int] = set()
"""The thread that collects garbage now; there is one at the most."""


def _note(phase: str, _: dict[str, int]) -> None:
    if phase == "start":
        _collectors.add(threading.get_ident())
    else:
        _collectors.discard(threading.get_ident())


gc.callbacks.append(_note)


def is_collecting() -> bool:
    """Whether this thread is collecting garbage, and runs finalizers.

    The one that asks need not be a finalizer itself: a generator of somebody else's that is
    finalized runs into the end of its `with` blocks.
    """
    return threading.get_ident() in _collectors


class Leftovers:
    """Holds what needs cleaning up, and a thread that does it for those who must not."""

    def __init__(self) -> None:
        self._held: set[Any] = set()
        self._left: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        """Its `put` may be called by a finalizer, whatever its thread is doing."""
        self._closed = False

    def hold(self, thing: object) -> None:
        """Keep something from being collected."""
        self._held.add(thing)

    def let_go(self, thing: object) -> None:
        """It has been cleaned up."""
        self._held.discard(thing)
        if self._closed:
            self._left.put(_nothing)

    def leave(self, work: Callable[[], object]) -> None:
        """Have something done, soon. Takes no lock."""
        self._left.put(work)

    def close(self) -> None:
        """End the thread, as soon as nothing is held any more."""
        self._closed = True
        self._left.put(_nothing)

    def run(self) -> None:
        """Do what is left to be done, until `close`; a thread of its own."""
        while self._held or not self._closed:
            try:
                self._left.get()()
            except Exception as exc:  # a mistake of ours must not stop the others
                get_logger().error("something was not given up by our own fault", exc_info=exc)


def _nothing() -> None:
    pass

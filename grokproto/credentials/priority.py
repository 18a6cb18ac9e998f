"""A priority queue whose items can be moved and taken out.

A heap cannot find an item, so moving one leaves its old entry behind, to be dropped when it comes
to the top. Each operation is O(log n), and the heap is never more than twice as large as it must
be, plus a little: it is built anew when it is, which the moves before have paid for.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K", float, tuple[int, int])
T = TypeVar("T")

_SLACK = 64


class PriorityQueue(Generic[K, T]):
    """Items by key, smallest first; among equals, the one that got its key first.

    Items are told apart by identity or hash; each is in the queue once.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[K, int, T]] = []
        self._entries: dict[T, tuple[K, int, T]] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, item: T) -> bool:
        return item in self._entries

    def __iter__(self) -> Iterator[T]:
        """The items in no order."""
        return iter(self._entries)

    def push(self, item: T, key: K) -> None:
        """Put an item in, or move it to another key."""
        entry = self._entries.get(item)
        if entry is not None and entry[0] == key:
            return
        self._count += 1
        self._entries[item] = entry = (key, self._count, item)
        if len(self._heap) > 2 * len(self._entries) + _SLACK:
            self._heap = list(self._entries.values())
            heapq.heapify(self._heap)
        else:
            heapq.heappush(self._heap, entry)

    def discard(self, item: T) -> None:
        """Take an item out, if it is in."""
        self._entries.pop(item, None)

    def peek(self) -> tuple[K, T] | None:
        """The smallest key and its item; None when the queue is empty."""
        heap = self._heap
        while heap:
            key, _, item = heap[0]
            if self._entries.get(item) is heap[0]:
                return key, item
            heapq.heappop(heap)
        return None

"""Putting together what is to be sent, for hosts that send piece by piece and wait for each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial

from .front import Headers


class Gathering(ABC):
    """The half of `answer.Request` that gathers, by way of the half that sends."""

    def __init__(self) -> None:
        self._gathered: list[Callable[[], Awaitable[None]]] = []

    @abstractmethod
    async def send_response(self, status: int, headers: Headers) -> None:
        """Send the head."""

    @abstractmethod
    async def send_data(self, data: bytes) -> None:
        """Send a piece of the body; return when the client can take more."""

    @abstractmethod
    async def end_response(self) -> None:
        """End the response."""

    def put_head(self, status: int, headers: Headers) -> None:
        """See `drive.Client`."""
        self._gathered.append(partial(self.send_response, status, headers))

    def put_data(self, data: bytes) -> None:
        """See `drive.Client`."""
        self._gathered.append(partial(self.send_data, data))

    def put_end(self) -> None:
        """See `drive.Client`."""
        self._gathered.append(self.end_response)

    def flush(self) -> bool:
        """See `drive.Client`: nothing is sent here without waiting."""
        return not self._gathered

    async def drain(self) -> None:
        """See `drive.Client`."""
        while self._gathered:
            await self._gathered.pop(0)()

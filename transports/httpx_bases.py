"""What httpx and its successor httpx2 have in common, for those who speak to either."""

from __future__ import annotations

import contextlib
import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

_LIBRARIES: list[ModuleType] = []
for _name in ("httpx", "httpx2"):
    with contextlib.suppress(ImportError):
        _LIBRARIES.append(importlib.import_module(_name))
if not _LIBRARIES:
    raise ImportError("transports.inprocess needs httpx: install grokproto[inprocess]")

if TYPE_CHECKING:
    import httpx
    import httpx2

    class BaseTransport(httpx.BaseTransport, httpx2.BaseTransport):
        """Of both."""

        def handle_request(self, request: Any) -> Any:
            """Answer a request with a response of its library's."""

    class AsyncBaseTransport(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):
        """Of both."""

        async def handle_async_request(self, request: Any) -> Any:
            """Answer a request with a response of its library's."""

    class SyncByteStream(httpx.SyncByteStream, httpx2.SyncByteStream):
        """Of both."""

    class AsyncByteStream(httpx.AsyncByteStream, httpx2.AsyncByteStream):
        """Of both."""

else:

    def _join(name):
        return type(name, tuple(getattr(library, name) for library in _LIBRARIES), {})

    BaseTransport = _join("BaseTransport")
    AsyncBaseTransport = _join("AsyncBaseTransport")
    SyncByteStream = _join("SyncByteStream")
    AsyncByteStream = _join("AsyncByteStream")


def find_library(request: object) -> ModuleType:
    """The library that a request is of."""
    return next(library for library in _LIBRARIES if isinstance(request, library.Request))

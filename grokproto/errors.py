"""The exceptions of grokproto.

Exceptions are for callers: somebody called us wrongly, or handed us something that cannot be
right. What goes wrong between us and Grok while an exchange runs is not an exception but a
`grokproto.failures.Failure`, a value that policy can look at.

Public functions say which of these they raise. Anything else that comes out is a bug in grokproto.
"""

from __future__ import annotations


class GrokprotoError(Exception):
    """Base of every exception that grokproto raises on purpose."""


class LocalProtocolError(GrokprotoError):
    """The host misused the machine: wrong event, wrong order, a clock that went back.

    Nothing has changed when this is raised; the machine is where it was before the call.
    """


class RemoteProtocolError(GrokprotoError):
    """Grok sent what we have never seen it send, and the rest cannot be trusted."""


class InvalidRequestError(GrokprotoError):
    """The client's request cannot be right, and the client can mend it.

    Args:
        message: One sentence for the person who wrote the request.
        param: Path of the wrong part in the request, such as `messages[2].content`.
        code: A short machine-readable name, such as `model_not_found`.
        status: The HTTP status that fits.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int = 400,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.status = status


class ConfigurationError(GrokprotoError):
    """A setting or a file of settings cannot be right; the sentence names it and says why."""

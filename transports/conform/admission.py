"""Whether a server takes the key and the model at all. Where it does not, no check tells anything.

A server that refuses for another reason, or answers with something that is no answer, is what the
checks are for.
"""

from __future__ import annotations

import re
from typing import Any

from grokproto.grok.refusals import quote

from .plain_http import ProtocolError, Response
from .target import Target


def find_refusal(target: Target) -> str | None:
    """Ask the question that most checks look at. Where the key or the model stands in the way, the
    sentence that says so; None otherwise.

    Raises:
        UnreachableError: The server cannot be reached.
    """
    try:
        response = target.answer
    except ProtocolError:
        return _find_refusal_of_models(target)
    if _is_about_the_model(target.model, response):
        name = quote(target.model)
        return f"the server does not know the model {name}: {_tell(target, response)}"
    return _find_refusal_of_key(target, response)


def _find_refusal_of_models(target: Target) -> str | None:
    """The same where there is no answer: none is asked for if no model is listed, and that may be
    for want of a key. All else is for checks to tell."""
    try:
        return _find_refusal_of_key(target, target.models)
    except ProtocolError:
        return None


def _find_refusal_of_key(target: Target, response: Response) -> str | None:
    if response.status not in (401, 403):
        return None
    what = "to answer without a key" if target.key is None else "the key"
    return f"the server refuses {what}: {_tell(target, response)}"


def _tell(target: Target, response: Response) -> str:
    message = _read_message(response) or response.body[:1000].decode("utf-8", "replace")
    if target.key:
        message = message.replace(target.key, "...")
    return f"it answers {response.status}, {quote(message)}"


def _is_about_the_model(name: str, response: Response) -> bool:
    """Whether that is why the question was refused; there was nothing else to be refused for."""
    if response.status not in (400, 404, 422):
        return False
    error = _read_error(response)
    if error.get("code") == "model_not_found" or error.get("param") == "model":
        return True
    named = rf"(?<!\w){re.escape(name)}(?!\w)"
    return re.search(named, _read_message(response) or "") is not None


def _read_message(response: Response) -> str | None:
    """What the server says, in any of the shapes that servers have for that."""
    error = _read_error(response)
    for name in ("message", "detail", "error"):
        if isinstance(error.get(name), str):
            return str(error[name])
    return None


def _read_error(response: Response) -> dict[str, Any]:
    try:
        found = response.json
    except ProtocolError:
        return {}
    if not isinstance(found, dict):
        return {}
    inner = found.get("error")
    return inner if isinstance(inner, dict) else found

"""The errors that handlers meet, and the shape in which clients are told of theirs."""

from __future__ import annotations

import json


class ClientLeftError(Exception):
    """The client is gone, or does not take what it is sent."""


class BadBodyError(Exception):
    """The body of a request is broken; the text says how."""


class BodyTooLargeError(Exception):
    """The body of a request is longer than its handler takes."""


class StoppingError(Exception):
    """The server stops, and nothing was done about the request yet."""


def encode_http_error(message: str, code: str, type_: str = "invalid_request_error") -> bytes:
    """An error of HTTP's, in the shape that OpenAI gives errors."""
    error = {"message": message, "type": type_, "param": None, "code": code}
    return json.dumps({"error": error}).encode()

"""The server that is looked at."""

from __future__ import annotations

import functools
import json
from typing import Any

from grokproto.errors import ConfigurationError
from grokproto.grok.headers import check_header

from .plain_http import Address, Connection, ProtocolError, Response, encode_request

QUESTION = "Name a colour, in one short sentence."


class Target:
    """A server, and how it is asked.

    Args:
        url: The base of its API, such as `http://127.0.0.1:3000/v1`.
        key: Sent with every request; None where it wants none.
        model: The model that is asked; the first it lists where None.
        timeout: Seconds for each thing that is waited for.

    Raises:
        ConfigurationError: `key` has characters that no header may have.
        UnreachableError: `url` is no address.
    """

    def __init__(
        self, url: str, *, key: str | None = None, model: str | None = None, timeout: float = 60.0
    ) -> None:
        self.address = Address.read(url)
        if key is not None:
            try:
                check_header("authorization", key)
            except ConfigurationError:
                raise ConfigurationError("the key has characters that no header may have") from None
        self.key = key
        self._model = model
        self._timeout = timeout

    # Asking

    def connect(self, *, step: int = 65536) -> Connection:
        """A connection. See `Connection`."""
        return Connection(self.address, timeout=self._timeout, step=step)

    def encode(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "",
        headers: dict[str, str] | None = None,
    ) -> bytes:
        """A request as bytes.

        Args:
            method: Of the request.
            path: Within the API; what is from elsewhere has to be quoted in it.
            body: Bytes, or what is to be JSON; None for none.
            key: Instead of the target's, where it is not empty; None for no key.
            headers: Further ones.
        """
        fields = {"accept": "*/*", "user-agent": "grokproto-conform"}
        key = self.key if key == "" else key
        if key is not None:
            fields["authorization"] = f"Bearer {key}"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if data is not None:
            fields["content-type"] = "application/json"
        fields.update(headers or {})
        whole = f"{self.address.path}{path}"
        return encode_request(self.address, method, whole, fields.items(), data)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "",
        headers: dict[str, str] | None = None,
        step: int = 65536,
    ) -> Response:
        """One request, on a connection of its own. See `encode`.

        Raises:
            ProtocolError: The answer is no proper HTTP.
            UnreachableError: There is no connection.
        """
        with self.connect(step=step) as connection:
            connection.send(self.encode(method, path, body, key=key, headers=headers))
            return connection.receive_response(method)

    def build_chat(self, text: str = QUESTION, **fields: Any) -> dict[str, Any]:
        """The body of a question."""
        return {"model": self.model, "messages": [{"role": "user", "content": text}], **fields}

    def chat(self, text: str = QUESTION, **fields: Any) -> Response:
        """Ask a question."""
        return self.request("POST", "/chat/completions", self.build_chat(text, **fields))

    # What several checks look at; asked for once

    @functools.cached_property
    def models(self) -> Response:
        """The list of models."""
        return self.request("GET", "/models")

    @functools.cached_property
    def model(self) -> str:
        """The model that is asked."""
        if self._model is not None:
            return self._model
        try:
            return str(self.models.json["data"][0]["id"])
        except (KeyError, IndexError, TypeError):
            raise ProtocolError("no model is listed, and --model names none") from None

    @functools.cached_property
    def answer(self) -> Response:
        """A plain answer."""
        return self.chat()

    @functools.cached_property
    def stream(self) -> Response:
        """A plain answer, streamed."""
        return self.chat(stream=True)

"""The routes: which request is answered how. No I/O here; `front` says how a host goes about it."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping, Sized
from urllib.parse import unquote

import attrs
import msgspec

from grokproto.answer import Unknown
from grokproto.commands import Branch, Summary
from grokproto.credentials import parse_own
from grokproto.dialects import DIALECTS
from grokproto.dialects.base import Dialect
from grokproto.dialects.openai_objects import encode_model, encode_models
from grokproto.errors import InvalidRequestError
from grokproto.exchange import Exchange
from grokproto.models import ModelTable
from grokproto.secret import Secret
from grokproto.settings import Settings

from ..keys import Keys
from ..pool import admin
from ..pool.orders import Action, Order
from .drift import Drift
from .front import (
    JSON,
    Call,
    Converse,
    FindPicture,
    Head,
    Headers,
    ReceiveBody,
    Respond,
    Steps,
    refuse,
)

_PREFLIGHT_AGE = "86400"
_FIELD_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, \t-]+")
"""A list of names of header fields. Foreign servers pass on what is none: folded lines, NUL."""

MODELS_CREATED = 1735689600
"""`created` of every model: the start of 2025. Grok does not say; clients want a number."""


@attrs.frozen
class Route:
    """One path, and what its methods do."""

    path: str
    methods: dict[str, Callable[[Front, Call], Respond | Steps]]
    open: bool = False
    """No key is asked for."""


class Front:
    """The HTTP API.

    Args:
        keys: Which keys are good; None where each request's key is the cookie it is made with.
        models: The models.
        settings: For the exchanges.
        max_body_bytes: The longest body of a request.
        running: The exchanges under way.
        make_exchange: Makes one; `Exchange`, or something in its place that watches it.
        on_drift: Told of each name in Grok's answers that nobody here knows, the first time.
        new_id: Makes a fresh unique id.
        unix_time: Unix seconds.
    """

    def __init__(
        self,
        *,
        keys: Keys | None,
        models: ModelTable,
        settings: Settings,
        max_body_bytes: int,
        running: Sized = (),
        make_exchange: Callable[..., Branch] = Exchange,
        on_drift: Callable[[Unknown], object] = lambda _: None,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._models = models
        self._settings = settings
        self._max_body_bytes = max_body_bytes
        self._running = running
        self._make_exchange = make_exchange
        self._drift = Drift(on_drift)
        self._new_id = new_id
        self._unix_time = unix_time

    def open(self, head: Head, now: float) -> Call:
        """A request has come.

        Args:
            head: Its head.
            now: The host's clock, seconds.
        """
        return Call(head, self._decide, self._new_id, now, self._take_summary)

    def _take_summary(self, summary: Summary) -> None:
        if summary.unknown:
            self._drift.add(summary.unknown, self._unix_time())

    def _decide(self, call: Call) -> Respond | Steps:
        head = call.head
        route, call.tail = _find(head.path)
        if head.method == "OPTIONS":
            return _welcome(head, route)
        if route is None:
            raise _refuse_path(head)
        method = "GET" if head.method == "HEAD" else head.method
        handler = route.methods.get(method)
        if handler is None:
            return _refuse_method(head, route)
        if not route.open and not self._accept_key(head.key):
            raise _refuse_key(head.key)
        return handler(self, call)

    def _accept_key(self, key: str) -> bool:
        if self._keys is None:
            return bool(key)
        return self._keys.accept(key)

    # Handlers

    def health(self, call: Call) -> Steps:
        """Whether the server is alive, and what is wrong with it all the same.

        Anybody may ask how many names of Grok's are unknown here; which, is for those with a key.
        """
        body: dict[str, object] = {"status": "ok", "running": len(self._running)}
        if self._keys is not None:
            found = yield Order(Action.HEALTH)
            if found["state"] is not None:
                body.update(status="degraded", state=found["state"])
        if self._drift:
            drift: dict[str, object] = {"names": len(self._drift)}
            if self._keys is not None and self._keys.accept(call.head.key):
                drift["seen"] = self._drift.describe()
            body["drift"] = drift
        return _respond(body)

    def ready(self, _: Call) -> Steps:
        """Whether requests can be answered: the state can be written, and a credential is there."""
        reason: str | None = None
        if self._keys is not None:
            reason = (yield Order(Action.READINESS))["reason"]
        if reason is None:
            return _respond({"status": "ready"})
        return _respond({"status": "not ready", "reason": reason}, 503)

    def list_models(self, _: Call) -> Respond:
        """The models."""
        return Respond(200, JSON, encode_models(self._models, MODELS_CREATED))

    def show_model(self, call: Call) -> Respond:
        """One model. Its name may have characters that stand in a path as escapes only."""
        name = unquote(call.tail)  # what is no escape, or no UTF-8, gives a name that nobody has
        self._models.find(name)
        return Respond(200, JSON, encode_model(name, MODELS_CREATED))

    def chat(self, call: Call) -> Steps:
        """A chat completion."""
        return self._converse(call, DIALECTS["openai_chat"])

    def images(self, call: Call) -> Steps:
        """Pictures for a prompt."""
        return self._converse(call, DIALECTS["openai_images"])

    def show_picture(self, call: Call) -> Steps:
        """A picture that was drawn here. Who has the address may see it: that is what it is for."""
        found = yield FindPicture(call.tail)
        if isinstance(found, InvalidRequestError):
            raise found
        if found is None:
            raise InvalidRequestError(
                "There is no such picture here, or not any more.", code="not_found", status=404
            )
        media_type, data = found
        headers = (
            ("content-type", media_type),
            ("cache-control", "private, max-age=86400, immutable"),
            ("content-security-policy", "default-src 'none'; sandbox"),
            ("x-content-type-options", "nosniff"),
        )
        return Respond(200, headers, data)

    def list_credentials(self, _: Call) -> Steps:
        """All credentials, by fingerprint."""
        groups = {model.group for model in self._models.values()}
        return self._administer(lambda _: Order(Action.LIST, groups=tuple(groups)))

    def add_credential(self, _: Call) -> Steps:
        """Take a credential in."""
        return self._administer(lambda body: Order(Action.ADD, admin.read_sso(body)))

    def remove_credential(self, _: Call) -> Steps:
        """Forget a credential."""
        return self._administer(lambda body: Order(Action.REMOVE, admin.read_sso(body)))

    def enable_credential(self, _: Call) -> Steps:
        """Put a credential in service again."""
        return self._administer(lambda body: Order(Action.ENABLE, admin.read_sso(body)))

    def _administer(self, read: Callable[[bytes], Order]) -> Steps:
        if self._keys is None:
            raise InvalidRequestError(
                "Each request brings its own cookie here (IS_CUSTOM_SSO); there are no others "
                "to see or change.",
                code="own_cookie_mode",
                status=403,
            )
        answer = yield read((yield ReceiveBody(self._max_body_bytes)))
        if isinstance(answer, InvalidRequestError):
            raise answer
        return _respond(answer)

    def _converse(self, call: Call, dialect: Dialect) -> Steps:
        cookies: Mapping[str, Secret] | None = None
        if self._keys is None:
            cookies = parse_own(call.head.key)
        body = yield ReceiveBody(self._max_body_bytes)
        exchange = self._make_exchange(
            body,
            dialect=dialect,
            models=self._models,
            settings=self._settings,
            new_id=self._new_id,
            created=int(self._unix_time()),
            headers=call.head.headers.as_dict(),
        )
        return Converse(exchange, cookies)


ROUTES: tuple[Route, ...] = (
    Route("/health", {"GET": Front.health}, open=True),
    Route("/ready", {"GET": Front.ready}, open=True),
    Route("/v1/models", {"GET": Front.list_models}),
    Route("/v1/models/{}", {"GET": Front.show_model}),
    Route("/v1/chat/completions", {"POST": Front.chat}),
    Route("/v1/images/generations", {"POST": Front.images}),
    Route("/images/{}", {"GET": Front.show_picture}, open=True),
    Route("/get/tokens", {"GET": Front.list_credentials}),
    Route("/add/token", {"POST": Front.add_credential}),
    Route("/delete/token", {"POST": Front.remove_credential}),
    Route("/enable/token", {"POST": Front.enable_credential}),
)
"""Each may also be asked for without `/v1`."""


_ABSENT = {
    "/completions": "legacy completions; use /v1/chat/completions",
    "/responses": "the responses API; use /v1/chat/completions",
    "/embeddings": "embeddings: Grok's web API makes none",
    "/audio": "audio: Grok's web API takes and makes none",
    "/moderations": "moderations: Grok's web API has none",
    "/images/edits": "edits of pictures; attach the picture to a chat instead",
    "/images/variations": "variations of pictures; attach the picture to a chat instead",
    "/files": "files; send what is to be read with the message",
    "/uploads": "uploads; send what is to be read with the message",
    "/batches": "batches; send the requests one by one",
    "/fine_tuning": "fine-tuning: the models are Grok's",
    "/assistants": "assistants; use /v1/chat/completions",
    "/threads": "threads; use /v1/chat/completions with the whole conversation",
    "/vector_stores": "vector stores; send what is to be read with the message",
    "/realtime": "the realtime API; use /v1/chat/completions with stream",
}
"""What OpenAI's API has and this one does not, by the beginning of the path, less `/v1`."""


def _respond(body: dict[str, object], status: int = 200) -> Respond:
    return Respond(status, JSON, msgspec.json.encode(body))


def _welcome(head: Head, route: Route | None) -> Respond:
    """Answer what a browser asks before it asks: no key, and everything is welcome."""
    methods = ", ".join((*_list_methods(route), "OPTIONS") if route else ("OPTIONS",))
    wanted = head.headers.get("access-control-request-headers") or ""
    allowed = wanted if _FIELD_NAMES.fullmatch(wanted) else "authorization, content-type"
    headers: Headers = (
        ("allow", methods),
        ("access-control-allow-methods", methods),
        ("access-control-allow-headers", allowed),
        ("access-control-max-age", _PREFLIGHT_AGE),
        ("vary", "access-control-request-headers"),
    )
    return Respond(204, headers, b"")


def _refuse_method(head: Head, route: Route) -> Respond:
    allowed = ", ".join(_list_methods(route))
    error = InvalidRequestError(
        f"{route.path} takes {allowed}, not {head.method[:20]}.",
        code="method_not_allowed",
        status=405,
    )
    return refuse(error, ("allow", allowed))


def _refuse_path(head: Head) -> InvalidRequestError:
    path = head.path.removeprefix("/v1")
    for start, what in _ABSENT.items():
        if path == start or path.startswith(f"{start}/"):
            return InvalidRequestError(
                f"This server does not have {what}.", code="not_supported", status=404
            )
    return InvalidRequestError(
        f"There is no {head.method[:20]} {head.path[:200]} here.", code="not_found", status=404
    )


def _find(path: str) -> tuple[Route | None, str]:
    for route in ROUTES:
        for pattern in (route.path, route.path.removeprefix("/v1")):
            head, variable, _ = pattern.partition("{}")
            if variable and path.startswith(head) and len(path) > len(head):
                return route, path[len(head) :]
            if path == pattern:
                return route, ""
    return None, ""


def _list_methods(route: Route) -> list[str]:
    return [*(["HEAD"] if "GET" in route.methods else []), *route.methods]


def _refuse_key(key: str) -> InvalidRequestError:
    message = (
        # Clients know what is wrong by OpenAI's first words.
        "Incorrect API key provided: it is not one of this server's; ask its operator for one."
        if key
        else "There is no API key; send it as 'Authorization: Bearer KEY'."
    )
    return InvalidRequestError(message, code="invalid_api_key", status=401)

"""The routes: which request is answered how. An application for `transports.server.serve`."""

from __future__ import annotations

import math
import re
import time
import uuid
from collections.abc import Awaitable, Callable

import attrs
import msgspec
import trio

from grokproto.commands import Summary
from grokproto.credentials import State
from grokproto.dialects import DIALECTS
from grokproto.dialects.base import Dialect
from grokproto.dialects.openai_objects import encode_error, encode_model, encode_models
from grokproto.errors import InvalidRequestError
from grokproto.exchange import Exchange
from grokproto.models import ModelTable
from grokproto.settings import Settings

from . import admin
from .connection import BadBodyError, BodyTooLargeError, HTTPRequest
from .drive import Credentials, Drive, Drives
from .keys import ApiKeys
from .logs import get_logger
from .pictures import PictureDesk
from .scheduler import Scheduler
from .upstream import Upstream

Headers = tuple[tuple[str, str], ...]

_JSON: Headers = (("content-type", "application/json"),)
_ALLOW_ORIGIN: Headers = (("access-control-allow-origin", "*"),)
_EXPOSE: Headers = (
    (
        "access-control-expose-headers",
        "x-request-id, x-grokproto-ignored, openai-processing-ms, x-should-retry, retry-after",
    ),
)
_PREFLIGHT_AGE = "86400"
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:\-]{1,128}")

MODELS_CREATED = 1735689600
"""`created` of every model: the start of 2025. Grok does not say; clients want a number."""


@attrs.frozen
class Route:
    """One path, and what its methods do."""

    path: str
    methods: dict[str, Callable[[App, Call], Awaitable[None]]]
    open: bool = False
    """No key is asked for."""


@attrs.define
class Call:
    """One request, and what the log line will say of it."""

    http: HTTPRequest
    identity: str
    started: float
    """Host clock."""
    tail: str = ""
    """What the path has after the route's `{}`."""
    status: int | None = None
    summary: Summary | None = None

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer with a whole body."""
        self.status = status
        await self.http.respond(status, (*headers, *self._common()), body)

    async def respond_error(self, error: InvalidRequestError, *headers: tuple[str, str]) -> None:
        """Answer that the request cannot be right."""
        body = encode_error(
            error.message, "invalid_request_error", param=error.param, code=error.code
        )
        await self.respond(error.status, (*_JSON, *headers), body)

    # The driver's view of the client (`drive.Client`)

    async def send_response(self, status: int, headers: Headers) -> None:
        """See `drive.Client`."""
        self.status = status
        await self.http.send_response(status, (*headers, *self._common()))

    async def send_data(self, data: bytes) -> None:
        """See `drive.Client`."""
        await self.http.send_data(data)

    async def end_response(self) -> None:
        """See `drive.Client`."""
        await self.http.end_response()

    def watch(self, scope: trio.CancelScope) -> None:
        """See `drive.Client`."""
        self.http.watch(scope)

    def unwatch(self) -> None:
        """See `drive.Client`."""
        self.http.unwatch()

    def _common(self) -> Headers:
        milliseconds = math.ceil((trio.current_time() - self.started) * 1000)
        return (
            *_ALLOW_ORIGIN,
            *_EXPOSE,
            ("x-request-id", self.identity),
            ("openai-processing-ms", str(milliseconds)),
        )


class App:
    """The HTTP API.

    Args:
        keys: Which keys are good; None where every key is (it is somebody's own cookie).
        credentials: Gives the source of leases for a request with this key; may raise
            InvalidRequestError.
        scheduler: Whose credentials may be seen and changed; None where nobody's may.
        models: The models.
        settings: For the exchanges.
        upstream: The far ends.
        pictures: What is done with pictures.
        max_body_bytes: The longest body of a request.
    """

    def __init__(
        self,
        *,
        keys: ApiKeys | None,
        credentials: Callable[[str], Credentials],
        scheduler: Scheduler | None,
        models: ModelTable,
        settings: Settings,
        upstream: Upstream,
        pictures: PictureDesk,
        max_body_bytes: int,
    ) -> None:
        self._keys = keys
        self._credentials = credentials
        self._scheduler = scheduler
        self._models = models
        self._settings = settings
        self._upstream = upstream
        self._pictures = pictures
        self._max_body_bytes = max_body_bytes
        self._log = get_logger()
        self.drives = Drives()

    async def __call__(self, http: HTTPRequest) -> None:
        """Answer one request, and log it."""
        call = Call(http, _choose_identity(http), trio.current_time())
        try:
            await self._dispatch(call)
        finally:
            self._report(call, trio.current_time() - call.started)

    async def _dispatch(self, call: Call) -> None:
        http = call.http
        route, call.tail = _find(http.path)
        if http.method == "OPTIONS":
            await self._preflight(call, route)
            return
        if route is None:
            await call.respond_error(_refuse_path(http))
            return
        method = "GET" if http.method == "HEAD" else http.method
        handler = route.methods.get(method)
        if handler is None:
            allowed = ", ".join(_list_methods(route))
            await call.respond_error(
                InvalidRequestError(
                    f"{route.path} takes {allowed}, not {http.method[:20]}.",
                    code="method_not_allowed",
                    status=405,
                ),
                ("allow", allowed),
            )
            return
        if not route.open and not self._accept_key(_read_key(http)):
            await call.respond_error(_refuse_key(_read_key(http)))
            return
        await handler(self, call)

    def _accept_key(self, key: str) -> bool:
        if self._keys is None:
            return bool(key)
        return self._keys.accept(key)

    async def _preflight(self, call: Call, route: Route | None) -> None:
        """Answer what a browser asks before it asks: no key, and everything is welcome."""
        methods = ", ".join((*_list_methods(route), "OPTIONS") if route else ("OPTIONS",))
        wanted = call.http.headers.get("access-control-request-headers")
        headers: Headers = (
            ("allow", methods),
            ("access-control-allow-methods", methods),
            ("access-control-allow-headers", wanted or "authorization, content-type"),
            ("access-control-max-age", _PREFLIGHT_AGE),
            ("vary", "access-control-request-headers"),
        )
        await call.respond(204, headers, b"")

    # Handlers

    async def health(self, call: Call) -> None:
        """Whether the server is alive, and what is wrong with it all the same."""
        body: dict[str, object] = {"status": "ok", "running": len(self.drives)}
        if self._scheduler is not None and self._scheduler.store.error is not None:
            body.update(status="degraded", state=self._scheduler.store.error)
        await call.respond(200, _JSON, msgspec.json.encode(body))

    async def ready(self, call: Call) -> None:
        """Whether requests can be answered: the state can be written, and a credential is there.

        Anybody may ask, so it says no more than that.
        """
        reason: str | None = None
        if self._scheduler is not None:
            known = self._scheduler.pool.status(self._scheduler.unix_now)
            if all(status.state is State.DISABLED for status in known):
                reason = "There is no account, and no guest session, that is in service."
            if self._scheduler.check_store() is not None:
                reason = "The state cannot be written."
        body = {"status": "ready"} if reason is None else {"status": "not ready", "reason": reason}
        await call.respond(200 if reason is None else 503, _JSON, msgspec.json.encode(body))

    async def list_models(self, call: Call) -> None:
        """The models."""
        await call.respond(200, _JSON, encode_models(self._models, MODELS_CREATED))

    async def show_model(self, call: Call) -> None:
        """One model."""
        try:
            self._models.find(call.tail)
        except InvalidRequestError as error:
            await call.respond_error(error)
            return
        await call.respond(200, _JSON, encode_model(call.tail, MODELS_CREATED))

    async def chat(self, call: Call) -> None:
        """A chat completion."""
        await self._exchange(call, DIALECTS["openai_chat"])

    async def images(self, call: Call) -> None:
        """Pictures for a prompt."""
        await self._exchange(call, DIALECTS["openai_images"])

    async def show_picture(self, call: Call) -> None:
        """A picture that was drawn here. Who has the address may see it: that is what it is for."""
        found = await self._pictures.open(call.tail)
        if found is None:
            await call.respond_error(
                InvalidRequestError(
                    "There is no such picture here, or not any more.", code="not_found", status=404
                )
            )
            return
        media_type, data = found
        headers = (
            ("content-type", media_type),
            ("cache-control", "private, max-age=86400, immutable"),
            ("content-security-policy", "default-src 'none'; sandbox"),
            ("x-content-type-options", "nosniff"),
        )
        await call.respond(200, headers, data)

    async def list_credentials(self, call: Call) -> None:
        """All credentials, by fingerprint."""
        await self._administer(call, lambda each, _: admin.list_credentials(each, self._groups))

    async def add_credential(self, call: Call) -> None:
        """Take a credential in."""
        await self._administer(
            call, lambda each, body: admin.add_credential(each, admin.read_sso(body))
        )

    async def remove_credential(self, call: Call) -> None:
        """Forget a credential."""
        await self._administer(
            call, lambda each, body: admin.remove_credential(each, admin.read_sso(body))
        )

    async def enable_credential(self, call: Call) -> None:
        """Put a credential in service again."""
        await self._administer(
            call, lambda each, body: admin.enable_credential(each, admin.read_sso(body))
        )

    async def _administer(
        self, call: Call, work: Callable[[Scheduler, bytes], dict[str, object]]
    ) -> None:
        try:
            if self._scheduler is None:
                raise InvalidRequestError(
                    "Each request brings its own cookie here (IS_CUSTOM_SSO); there are no others "
                    "to see or change.",
                    code="own_cookie_mode",
                    status=403,
                )
            answer = work(self._scheduler, await self._receive_body(call))
        except InvalidRequestError as error:
            await call.respond_error(error)
            return
        await call.respond(200, _JSON, msgspec.json.encode(answer))

    @property
    def _groups(self) -> set[str]:
        return {model.group for model in self._models.values()}

    async def _receive_body(self, call: Call) -> bytes:
        """The body of a request.

        Raises:
            InvalidRequestError: It is too long, or broken.
        """
        try:
            return await call.http.receive_body(self._max_body_bytes)
        except BodyTooLargeError:
            raise InvalidRequestError(
                f"The body is longer than the {self._max_body_bytes} bytes that are taken here.",
                code="body_too_large",
                status=413,
            ) from None
        except BadBodyError as exc:
            raise InvalidRequestError(str(exc)) from exc

    async def _exchange(self, call: Call, dialect: Dialect) -> None:
        try:
            credentials = self._credentials(_read_key(call.http))
            body = await self._receive_body(call)
        except InvalidRequestError as error:
            await call.respond_error(error)
            return
        headers = call.http.headers.as_dict()
        exchange = Exchange(
            body,
            dialect=dialect,
            models=self._models,
            settings=self._settings,
            new_id=lambda: str(uuid.uuid4()),
            created=int(time.time()),
            headers=headers,
        )
        del body
        drive = Drive(exchange, call, self._upstream, credentials, self._pictures.serve(headers))
        with self.drives.enlist(drive):
            call.summary = await drive.run()

    def _report(self, call: Call, seconds: float) -> None:
        summary = call.summary
        fields: dict[str, object] = {
            "method": call.http.method[:20],
            "path": call.http.path[:200],
            "status": call.status,
            "seconds": round(seconds, 4),
            "request_id": call.identity,
        }
        if summary is not None:
            fields["model"] = summary.model
            fields["attempts"] = summary.attempts
            fields["credential"] = summary.credential
            fields["prompt_tokens"] = summary.prompt_tokens
            fields["completion_tokens"] = summary.completion_tokens
            if summary.client_closed:
                fields["client_closed"] = True
            if summary.failure is not None:
                fields["failure"] = summary.failure.kind.value
                fields["reason"] = summary.failure.message
        self._log.info("request", **fields)


ROUTES: tuple[Route, ...] = (
    Route("/health", {"GET": App.health}, open=True),
    Route("/ready", {"GET": App.ready}, open=True),
    Route("/v1/models", {"GET": App.list_models}),
    Route("/v1/models/{}", {"GET": App.show_model}),
    Route("/v1/chat/completions", {"POST": App.chat}),
    Route("/v1/images/generations", {"POST": App.images}),
    Route("/images/{}", {"GET": App.show_picture}, open=True),
    Route("/get/tokens", {"GET": App.list_credentials}),
    Route("/add/token", {"POST": App.add_credential}),
    Route("/delete/token", {"POST": App.remove_credential}),
    Route("/enable/token", {"POST": App.enable_credential}),
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


def _refuse_path(http: HTTPRequest) -> InvalidRequestError:
    path = http.path.removeprefix("/v1")
    for start, what in _ABSENT.items():
        if path == start or path.startswith(f"{start}/"):
            return InvalidRequestError(
                f"This server does not have {what}.", code="not_supported", status=404
            )
    return InvalidRequestError(
        f"There is no {http.method[:20]} {http.path[:200]} here.", code="not_found", status=404
    )


def _choose_identity(http: HTTPRequest) -> str:
    """The client's own id of the request, where it gives a plain one."""
    given = http.headers.get("x-request-id") or ""
    return given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())


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


def _read_key(http: HTTPRequest) -> str:
    """The key of a request; empty where it has none."""
    scheme, _, key = (http.headers.get("authorization") or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _refuse_key(key: str) -> InvalidRequestError:
    message = (
        "The API key is not one of this server's; ask its operator for one."
        if key
        else "There is no API key; send it as 'Authorization: Bearer KEY'."
    )
    return InvalidRequestError(message, code="invalid_api_key", status=401)

"""For those who make the call to Grok themselves: a client's request in, the call to make out.

    question = read_question(body)
    call = question.build_call(sso, request_id=identity)
    ... send call.method, call.url, call.headers, call.body with whatever HTTP client there is ...

What comes back goes into a converter (`grokproto.conversion`). No pool, no retries, no pictures
fetched or hosted: `grokproto.Exchange` does all that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from .dialects import DIALECTS
from .dialects.base import Dialect
from .errors import InvalidRequestError, LocalProtocolError
from .grok import calls
from .grok.payload import build_payload
from .lease import Lease
from .models import Model, ModelTable
from .plan import Plan, read_plan
from .request import Attachment, ChatRequest
from .secret import Secret
from .settings import Settings
from .upstream_request import UpstreamRequest

_NOT_OURS = frozenset({"accept-encoding"})
"""Headers that are the HTTP client's to set, since it is the one that undoes the codings."""


class Question(msgspec.Struct, frozen=True):
    """A client's request as Grok is asked it. `read_question` makes one."""

    plan: Plan
    settings: Settings
    dialect: Dialect
    """The API that the client speaks, in which it is answered."""

    @property
    def request(self) -> ChatRequest:
        """What the client asked for, without the messages: model, stop, `max_tokens` and so on."""
        return self.plan.request

    @property
    def model(self) -> Model:
        """The row of the model table that is asked."""
        return self.plan.model

    @property
    def message(self) -> str:
        """The whole conversation as the one text that Grok takes. Grok takes some 40,000
        characters; a longer one is sent as it is."""
        return self.plan.prompt.message

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """Pictures and text files of the latest message, four at most. Each is to be uploaded with
        the account that is asked (`build_uploads`)."""
        return self.plan.prompt.attachments

    def build_payload(self, file_ids: Sequence[str] = ()) -> dict[str, Any]:
        """The body of `POST /rest/app-chat/conversations/new` (docs/wire.md 2.3), as an object.

        Args:
            file_ids: What Grok called each of `attachments`, in their order (`read_upload`).

        Raises:
            LocalProtocolError: There are more or fewer ids than attachments.
        """
        if len(file_ids) != len(self.attachments):
            raise LocalProtocolError(
                f"the request has {len(self.attachments)} attachments, and ids of "
                f"{len(file_ids)} were given: upload each with the same account first "
                "(build_uploads, read_upload)"
            )
        return build_payload(
            self.model, self.message, file_ids=file_ids, temporary=self.settings.temporary
        )

    def build_call(
        self, sso: str | Secret, *, request_id: str, file_ids: Sequence[str] = ()
    ) -> UpstreamRequest:
        """The call to make: `method`, `url`, `headers` (pairs) and `body`.

        The answer is streamed. Send the headers as they are; `accept-encoding`, `host` and
        `content-length` are left to the HTTP client.

        Args:
            sso: The account's cookie: a bare token, or `sso=...; sso-rw=...` as browsers have it.
            request_id: Unique for each call, such as a random UUID.
            file_ids: See `build_payload`.

        Raises:
            ConfigurationError: `sso` is no such cookie. The sentence does not show it.
            LocalProtocolError: See `build_payload`.
        """
        payload = self.build_payload(file_ids)
        lease = self._lend(sso)
        return _trim(calls.build_conversation(self.settings, lease, request_id, payload))

    def build_uploads(self, sso: str | Secret, *, request_id: str) -> list[UpstreamRequest]:
        """The calls to make before, one for each of `attachments`; `read_upload` reads the answers.

        Args:
            sso: See `build_call`; files belong to the account that uploaded them.
            request_id: Unique, such as a random UUID.

        Raises:
            ConfigurationError: See `build_call`.
        """
        lease = self._lend(sso)
        return [
            _trim(calls.build_upload(self.settings, lease, request_id, attachment))
            for attachment in self.attachments
        ]

    def _lend(self, sso: str | Secret) -> Lease:
        from .credentials import lease_own, parse_account  # noqa: PLC0415  # few need the pool

        text = sso.reveal() if isinstance(sso, Secret) else sso
        return lease_own(parse_account(text), self.model.group)


def _trim(request: UpstreamRequest) -> UpstreamRequest:
    headers = tuple(pair for pair in request.headers if pair[0] not in _NOT_OURS)
    return replace(request, headers=headers)


def read_question(
    body: bytes,
    *,
    dialect: str = "openai_chat",
    headers: Mapping[str, str] | None = None,
    models: ModelTable | None = None,
    settings: Settings | None = None,
) -> Question:
    """Read a client's request: the body of OpenAI's `POST /v1/chat/completions`, as it came.

    Args:
        body: JSON with `model` and `messages`; README has a table of the parameters.
        dialect: Another API that the client speaks; a name in `DIALECTS`.
        headers: The client's, by names in lower case; `x-thinking-format` and `x-search-results`
            are read.
        models: The models that it may name; the built-in ones if not given.
        settings: Where Grok is, how thinking and search results are shown, and so on.

    Raises:
        InvalidRequestError: The request cannot be right, or wants what one call cannot give:
            several choices, a linked picture. It has the `status` and the sentence to answer with.
        LocalProtocolError: There is no such dialect.
    """
    spoken = DIALECTS.get(dialect)
    if spoken is None:
        raise LocalProtocolError(f"there is no dialect {dialect!r}, only {', '.join(DIALECTS)}")
    settings = settings or Settings()
    plan = read_plan(body, headers or {}, spoken, models or ModelTable(), settings)
    check_is_one_call(plan.request)
    if plan.links:
        path = plan.links[0].path
        raise InvalidRequestError(
            f"{path} is an address; put the picture itself there, as a data URI.", param=path
        )
    return Question(plan, settings, spoken)


def check_is_one_call(request: ChatRequest) -> None:
    """See to it that a request can be answered with one call to Grok.

    Raises:
        InvalidRequestError: It wants several answers, or pictures and nothing else.
    """
    if request.choices != 1:
        raise InvalidRequestError(
            f"n is {request.choices}, and one call to Grok gives one answer.", param="n"
        )
    if request.drawing is not None:
        raise InvalidRequestError("Pictures alone take several calls to Grok; ask in a chat.")

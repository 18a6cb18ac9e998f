"""From the client's body to the end of its response: plan, retrieve, answer or divide, finish."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import msgspec
from msgspec.structs import replace

from ..answer import Usage, add_up
from ..commands import Branch, FetchPicture, Finish, Fork, Summary
from ..dialects.base import Choices, Dialect
from ..errors import InvalidRequestError
from ..events import PictureRefused
from ..failures import Failure, FailureKind
from ..media import sniff_media_type, to_base64
from ..models import ModelTable
from ..plan import Plan, read_plan
from ..request import Attachment, ImageLink, ImagePart
from ..settings import Settings
from ..states import State
from .answering import Answering
from .choices import Join
from .holdings import Holdings, Steps
from .reply import Reply

IGNORED_HEADER = "x-grokproto-ignored"


class Context(msgspec.Struct, frozen=True):
    """What an exchange is given to work with."""

    dialect: Dialect
    models: ModelTable
    settings: Settings
    new_id: Callable[[], str]
    """Makes a fresh unique id, such as a random UUID."""
    created: int
    """Unix time, seconds."""
    headers: Mapping[str, str]
    """The client's, by names in lower case."""


class Flow:
    """The whole of one request, as one generator."""

    def __init__(
        self,
        body: bytes,
        context: Context,
        holdings: Holdings,
        build_branch: Callable[[Answering, Holdings, Reply], Branch],
    ) -> None:
        self._body = body
        self._context = context
        self._holdings = holdings
        self._build_branch = build_branch
        self._reply = Reply(context.dialect, holdings, context.settings)
        self._plan: Plan | None = None
        self._failure: Failure | None = None
        self._answering: Answering | None = None
        self._join: Join | None = None

    def run(self) -> Steps[None]:
        """Everything up to what is still owed; `finish` comes after it."""
        context = self._context
        try:
            plan = read_plan(
                self._body, context.headers, context.dialect, context.models, context.settings
            )
            self._plan = plan
            plan = yield from self._retrieve(plan)
        except InvalidRequestError as error:
            self._holdings.enter(State.ANSWERING)
            yield from self._reply.refuse(error)
            return
        finally:
            self._body = b""  # it may be large, and the answer may be long
        if plan.request.ignored:
            self._reply.notes = ((IGNORED_HEADER, ", ".join(plan.request.ignored)),)
        identity = context.new_id()
        if plan.request.choices > 1:
            choices = context.dialect.build_choices(plan.request, identity, context.created)
            yield from self._divide(plan, choices)
            return
        self._answering = Answering(
            plan,
            lambda: context.dialect.build_encoder(plan.request, identity, context.created),
            context.settings,
            context.new_id,
            self._holdings,
            self._reply,
        )
        yield from self._answering.run()
        self._failure = self._answering.failure

    def stop(self) -> Steps[None]:
        """Instead of the rest of `run`: tell the client that the server stops."""
        if not self._reply.ended:
            self._failure = Failure(
                FailureKind.SHUTTING_DOWN, "This server is stopping; try again in a moment."
            )
            yield from self._reply.fail(self._failure)

    def finish(self, *, client_closed: bool = False) -> Finish:
        """The last command."""
        work = self._answering or self._join
        usage = Usage(0, 0) if work is None else work.usage
        return Finish(
            Summary(
                model=None if self._plan is None else self._plan.request.model,
                status=self._reply.status,
                failure=self._failure,
                attempts=0 if work is None else work.attempts,
                credential=None if work is None else work.credential,
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
                reasoning_tokens=usage.reasoning_tokens,
                client_closed=client_closed,
                unknown=() if work is None else add_up(work.unknown),
            )
        )

    def _retrieve(self, plan: Plan) -> Steps[Plan]:
        """Fetch the pictures that the client has linked to.

        Raises:
            InvalidRequestError: One cannot be had.
        """
        if not plan.links:
            return plan
        attachments: list[Attachment] = []
        for attachment in plan.prompt.attachments:
            if isinstance(attachment, ImageLink):
                attachments.append((yield from self._fetch(attachment)))
            else:
                attachments.append(attachment)
        prompt = replace(plan.prompt, attachments=tuple(attachments))
        return replace(plan, prompt=prompt)

    def _fetch(self, link: ImageLink) -> Steps[ImagePart]:
        self._holdings.enter(State.RETRIEVING)
        event = yield FetchPicture(link.url, self._context.settings.fetch_timeout)
        if isinstance(event, PictureRefused):
            reason = event.reason
        else:
            media_type = sniff_media_type(event.data)
            if media_type is not None:
                return ImagePart(to_base64(event.data), media_type)
            reason = "what is there is no PNG, JPEG, WebP or GIF picture"
        raise InvalidRequestError(
            f"{link.path}: the picture could not be fetched: {reason}.",
            param=link.path,
            code="invalid_image_url",
        )

    def _divide(self, plan: Plan, choices: Choices) -> Steps[None]:
        """Make several answers, each in an exchange of its own."""
        context = self._context
        self._reply.begin(choices)
        self._holdings.enter(State.DIVIDED)
        used: set[str] = set()
        works: list[Answering] = []
        branches: list[Branch] = []
        for index in range(plan.request.choices):
            holdings = Holdings()
            reply = Reply(context.dialect, holdings, context.settings)
            work = Answering(
                plan,
                partial(choices.build_encoder, index),
                context.settings,
                context.new_id,
                holdings,
                reply,
                used,
            )
            works.append(work)
            branches.append(self._build_branch(work, holdings, reply))
        self._join = Join(choices, self._reply, works)
        yield Fork(tuple(branches), self._join)
        self._holdings.enter(State.ANSWERING)
        self._failure = self._join.failure
        if self._failure is None:
            yield from self._reply.finish(self._join.finish())
        else:
            yield from self._reply.fail(self._failure)


class BranchFlow:
    """One of several answers: no request to read, and no end of the response to send."""

    def __init__(self, answering: Answering, reply: Reply) -> None:
        self._answering = answering
        self._reply = reply

    def run(self) -> Steps[None]:
        """See `Flow.run`."""
        yield from self._answering.run()

    def stop(self) -> Steps[None]:
        """See `Flow.stop`; the client is told for all branches at once."""
        return
        yield

    def finish(self, *, client_closed: bool = False) -> Finish:
        """See `Flow.finish`."""
        answering = self._answering
        return Finish(
            Summary(
                status=self._reply.status,
                failure=answering.failure,
                attempts=answering.attempts,
                credential=answering.credential,
                prompt_tokens=answering.usage.prompt_tokens,
                completion_tokens=answering.usage.completion_tokens,
                reasoning_tokens=answering.usage.reasoning_tokens,
                client_closed=client_closed,
                unknown=add_up(answering.unknown),
            )
        )

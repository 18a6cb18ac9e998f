"""From the client's body to the end of its answer: acquire, attempt, fail over, finish."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from ..answer import EndReason, Usage
from ..commands import AcquireCredential, Finish, Summary, Wait
from ..dialects.base import Dialect
from ..errors import InvalidRequestError, RemoteProtocolError
from ..events import CredentialAcquired, NoCredential
from ..failures import POLICIES, Failure, FailureKind, Retry
from ..grok import calls
from ..grok.refusals import MAX_ERROR_BODY, read_refusal
from ..lease import Lease, Outcome, Quota
from ..models import Model, ModelTable
from ..prompt import build_prompt
from ..request import ChatRequest
from ..settings import Settings
from ..states import State
from ..usage import estimate_tokens
from .attempt import Attempt, Question
from .holdings import Holdings, Steps
from .reply import Reply
from .upstream import Upstream

_BUSY_PAUSE = 0.25
"""Seconds between two questions to a pool whose host does not wait in line."""


@attrs.frozen
class Context:
    """What an exchange is given to work with."""

    dialect: Dialect
    models: ModelTable
    settings: Settings
    new_id: Callable[[], str]
    """Makes a fresh unique id, such as a random UUID."""
    created: int
    """Unix time, seconds."""


class Flow:
    """The whole of one request, as one generator."""

    def __init__(self, body: bytes, context: Context, holdings: Holdings) -> None:
        self._body = body
        self._context = context
        self._settings = context.settings
        self._holdings = holdings
        self._reply = Reply(context.dialect, holdings, context.settings)
        self._upstream = Upstream(context.settings, holdings, self._reply)
        self._failure: Failure | None = None
        self._attempts = 0
        self._tried: list[str] = []
        self._model: str | None = None
        self._prompt_tokens = 0
        self._attempt: Attempt | None = None
        """The last one."""

    def run(self) -> Steps[None]:
        """Everything up to what is still owed; `finish` comes after it."""
        try:
            request = self._context.dialect.decode_request(self._body)
            model = self._context.models.find(request.model)
            self._model = request.model
            prompt = build_prompt(request.turns, last_turn_only=model.last_turn_only)
        except InvalidRequestError as error:
            self._holdings.enter(State.ANSWERING)
            yield from self._reply.refuse(error)
            return
        finally:
            self._body = b""  # it may be large, and the answer may be long
        self._holdings.enter(State.ACQUIRING)
        yield from self._converse(request, Question(model, prompt))

    def stop(self) -> Steps[None]:
        """Instead of the rest of `run`: tell the client that the server stops."""
        if not self._reply.ended:
            self._failure = Failure(
                FailureKind.SHUTTING_DOWN, "This server is stopping; try again in a moment."
            )
            yield from self._reply.fail(self._failure)

    def finish(self, *, client_closed: bool = False) -> Finish:
        """The last command."""
        return Finish(
            Summary(
                model=self._model,
                status=self._reply.status,
                failure=self._failure,
                attempts=self._attempts,
                credential=self._tried[-1] if self._tried else None,
                prompt_tokens=self._usage.prompt_tokens,
                completion_tokens=self._usage.completion_tokens,
                client_closed=client_closed,
            )
        )

    @property
    def _usage(self) -> Usage:
        """What the last attempt has cost so far."""
        if self._attempt is None:
            return Usage(self._prompt_tokens, 0)
        reasoning = self._attempt.reasoning_tokens.tokens
        completion = reasoning + self._attempt.content_tokens.tokens
        return Usage(self._prompt_tokens, completion, reasoning)

    # Attempts

    def _converse(self, request: ChatRequest, question: Question) -> Steps[None]:
        identity = self._context.new_id()
        self._prompt_tokens = estimate_tokens(question.prompt.message)
        faults = 0
        """Failures that were not the credential's."""
        while True:
            encoder = self._context.dialect.build_encoder(request, identity, self._context.created)
            self._reply.begin(encoder)
            lease = yield from self._acquire(question.model)
            if isinstance(lease, Failure):
                self._failure = _choose(self._failure, lease)
                break
            self._attempts += 1
            self._attempt = Attempt(
                question,
                lease,
                encoder,
                self._settings,
                self._context.new_id(),
                self._holdings,
                self._reply,
                self._upstream,
            )
            ended = yield from self._attempt.run()
            if not isinstance(ended, Failure):
                self._failure = None
                yield from self._complete(ended, lease, question.model)
                return
            self._failure = ended
            yield from self._holdings.close()
            retry = POLICIES[ended.kind].retry
            faults += retry is Retry.ONCE
            yield from self._give_back(ended, lease, question.model)
            if (
                self._reply.content_sent
                or self._attempts >= self._settings.max_attempts
                or retry is Retry.NEVER
                or faults > 1
            ):
                break
            self._holdings.enter(State.ACQUIRING)
        self._holdings.enter(State.ANSWERING)
        yield from self._reply.fail(self._failure)

    def _acquire(self, model: Model) -> Steps[Lease | Failure]:
        deadline = self._holdings.now + self._settings.acquire_wait
        while True:
            patience = min(deadline, self._reply.next_ping)
            event = yield AcquireCredential(model.group, patience, frozenset(self._tried))
            if isinstance(event, CredentialAcquired):
                self._holdings.lease = event.lease
                self._tried.append(event.lease.credential)
                return event.lease
            assert isinstance(event, NoCredential)
            yield from self._reply.ping()
            now = self._holdings.now
            again = now + event.retry_after if event.retry_after is not None else None
            if event.busy and now < deadline:
                if now >= patience:
                    continue
                again = min(now + _BUSY_PAUSE, deadline)  # the host does not wait in line
            if again is None or again > deadline or again == now:
                kind = (
                    FailureKind.NO_CREDENTIAL
                    if again is not None or event.busy
                    else (FailureKind.MISCONFIGURED)
                )
                return Failure(kind, event.message, retry_after=event.retry_after)
            self._holdings.enter(State.WAITING)
            while self._holdings.now < again:
                yield Wait(min(again, self._reply.next_ping))
                yield from self._reply.ping()
            self._holdings.enter(State.ACQUIRING)

    def _give_back(self, failure: Failure, lease: Lease, model: Model) -> Steps[None]:
        """Return the lease of a failed attempt."""
        outcome = POLICIES[failure.kind].outcome
        if outcome is Outcome.REFUSED:
            self._holdings.enter(State.CHECKING)
            answer = yield from self._ask_quota(lease, model)
            if not (isinstance(answer, Failure) and answer.kind is FailureKind.UNAUTHORIZED):
                outcome = Outcome.UNUSED  # said once and not again: no ground to write it off
        if outcome is Outcome.UNUSED and self._holdings.answered:
            outcome = Outcome.SERVED  # it broke off, but Grok has counted it
        elif outcome is Outcome.SERVED and not self._holdings.asked:
            outcome = Outcome.UNUSED  # it did not come to the question
        yield from self._holdings.release(outcome, failure)

    def _complete(self, reason: EndReason, lease: Lease, model: Model) -> Steps[None]:
        """End a complete answer; ask about the quota when nobody waits for us any more."""
        self._holdings.enter(State.ANSWERING)
        yield from self._reply.finish(reason, self._usage)
        quota: Quota | Failure | None = None
        if lease.wants_quota and self._settings.quota_probe:
            self._holdings.enter(State.CHECKING)
            quota = yield from self._ask_quota(lease, model)
        yield from self._holdings.release(
            Outcome.SERVED, quota=quota if isinstance(quota, Quota) else None
        )

    def _ask_quota(self, lease: Lease, model: Model) -> Steps[Quota | Failure | None]:
        request = calls.build_rate_limits(self._settings, lease, self._context.new_id(), model)
        whole = yield from self._upstream.call(request, MAX_ERROR_BODY)
        if isinstance(whole, Failure):
            return whole
        if whole.status != 200:
            return read_refusal(whole.status, whole.headers, whole.body)
        try:
            return calls.read_rate_limits(whole.body)
        except RemoteProtocolError:
            return None  # it was a question beside the point; nobody waits for its answer


def _choose(earlier: Failure | None, now: Failure) -> Failure:
    """What to tell the client when a credential failed and there is no other one."""
    if earlier is None:
        return now
    if earlier.kind is FailureKind.RATE_LIMITED:
        return now if now.retry_after is not None else earlier
    return earlier

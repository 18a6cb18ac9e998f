"""From a question to its answer: acquire, attempt, fail over, complete."""

from __future__ import annotations

from collections.abc import Callable

from ..answer import EndReason, Unknown, Usage
from ..commands import AcquireCredential, Wait
from ..dialects.base import Encoder
from ..errors import RemoteProtocolError
from ..events import CredentialAcquired, NoCredential
from ..failures import POLICIES, Failure, FailureKind, Retry
from ..grok import calls
from ..grok.refusals import MAX_ERROR_BODY, read_refusal
from ..lease import Lease, Outcome, Quota
from ..plan import Plan
from ..settings import Settings
from ..states import State
from ..usage import estimate_tokens
from .attempt import Attempt
from .holdings import Holdings, Steps
from .reply import Reply
from .upstream import Upstream

_BUSY_PAUSE = 0.25
"""Seconds between two questions to a pool whose host does not wait in line."""
QUOTA_PATIENCE = 5.0
"""Seconds for an answer about a quota. A call slot waits for it, and the client's next request on
the same connection."""


class Answering:
    """One answer, in as many attempts as it takes and may take.

    Args:
        plan: What is asked.
        build_encoder: Makes a fresh encoder for an attempt.
        settings: The operator's.
        new_id: Makes a fresh unique id.
        holdings: What the exchange holds.
        reply: What the client has been told.
        used: Credentials that answers beside this one have; this one's are added.
    """

    def __init__(
        self,
        plan: Plan,
        build_encoder: Callable[[], Encoder],
        settings: Settings,
        new_id: Callable[[], str],
        holdings: Holdings,
        reply: Reply,
        used: set[str] | None = None,
    ) -> None:
        self._plan = plan
        self._build_encoder = build_encoder
        self._settings = settings
        self._new_id = new_id
        self._holdings = holdings
        self._reply = reply
        self._used = used
        self._upstream = Upstream(settings, holdings, reply)
        self._tried: list[str] = []
        self._prompt_tokens = estimate_tokens(plan.prompt.message)
        self._attempt: Attempt | None = None
        """The last one."""
        self._unknown: tuple[Unknown, ...] = ()
        """Of those before it."""
        self.failure: Failure | None = None
        """Why there is no answer, or none yet."""
        self.attempts = 0

    @property
    def credential(self) -> str | None:
        """The last one tried."""
        return self._tried[-1] if self._tried else None

    @property
    def usage(self) -> Usage:
        """What the last attempt has cost so far."""
        if self._attempt is None:
            return Usage(self._prompt_tokens, 0)
        return self._attempt.rendering.measure(self._prompt_tokens)

    @property
    def unknown(self) -> tuple[Unknown, ...]:
        """Names in Grok's answers that nobody here knows."""
        return self._unknown if self._attempt is None else (*self._unknown, *self._attempt.unknown)

    def run(self) -> Steps[None]:
        """Everything up to the end of the response, with either an answer or a failure."""
        self._holdings.enter(State.ACQUIRING)
        retry = Retry.FREELY
        faults = 0
        """Failures that were not the credential's."""
        while True:
            encoder = self._build_encoder()
            self._reply.begin(encoder)
            lease = yield from self._acquire(second_try=retry is Retry.ONCE)
            if isinstance(lease, Failure):
                self.failure = _choose(self.failure, lease)
                break
            self.attempts += 1
            self._unknown = self.unknown
            self._attempt = Attempt(
                self._plan,
                lease,
                encoder,
                self._settings,
                self._new_id(),
                self._holdings,
                self._reply,
                self._upstream,
            )
            ended = yield from self._attempt.run()
            if not isinstance(ended, Failure):
                self.failure = None
                yield from self._complete(ended, lease, encoder)
                return
            self.failure = ended
            yield from self._holdings.close()
            retry = POLICIES[ended.kind].retry
            if retry is Retry.ONCE:
                faults += 2 if self._upstream.repeated else 1
            yield from self._give_back(ended, lease)
            if (
                self._reply.content_sent
                or self.attempts >= self._settings.max_attempts
                or retry is Retry.NEVER
                or faults > 1
            ):
                break
            self._holdings.enter(State.ACQUIRING)
        self._holdings.enter(State.ANSWERING)
        yield from self._reply.fail(self.failure)

    def _acquire(self, *, second_try: bool) -> Steps[Lease | Failure]:
        deadline = self._holdings.now + self._settings.acquire_wait
        while True:
            patience = min(deadline, self._reply.next_ping)
            event = yield AcquireCredential(
                self._plan.model.group,
                patience,
                frozenset(self._tried),
                frozenset(self._used or ()),
                again=second_try,
            )
            if isinstance(event, CredentialAcquired):
                self._holdings.lease = event.lease
                self._tried.append(event.lease.credential)
                if self._used is not None:
                    self._used.add(event.lease.credential)
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
                return Failure(_classify(event), event.message, retry_after=event.retry_after)
            self._holdings.enter(State.WAITING)
            while self._holdings.now < again:
                yield Wait(min(again, self._reply.next_ping))
                yield from self._reply.ping()
            self._holdings.enter(State.ACQUIRING)

    def _give_back(self, failure: Failure, lease: Lease) -> Steps[None]:
        """Return the lease of a failed attempt."""
        outcome = POLICIES[failure.kind].outcome
        if outcome is Outcome.REFUSED:
            self._holdings.enter(State.CHECKING)
            answer = yield from self._ask_quota(lease)
            if not (isinstance(answer, Failure) and answer.kind is FailureKind.UNAUTHORIZED):
                outcome = Outcome.UNUSED  # said once and not again: no ground to write it off
        if outcome is Outcome.UNUSED and self._holdings.answered:
            outcome = Outcome.SERVED  # it broke off, but Grok has counted it
        elif outcome is Outcome.SERVED and not self._holdings.asked:
            outcome = Outcome.UNUSED  # it did not come to the question
        yield from self._holdings.release(outcome, failure)

    def _complete(self, reason: EndReason, lease: Lease, encoder: Encoder) -> Steps[None]:
        """End a complete answer; ask about the quota when nobody waits for us any more."""
        self._holdings.enter(State.ANSWERING)
        yield from self._reply.finish(encoder.finish(reason, self.usage))
        quota: Quota | Failure | None = None
        if lease.wants_quota and self._settings.quota_probe:
            self._holdings.enter(State.CHECKING)
            quota = yield from self._ask_quota(lease)
        yield from self._holdings.release(
            Outcome.SERVED, quota=quota if isinstance(quota, Quota) else None
        )

    def _ask_quota(self, lease: Lease) -> Steps[Quota | Failure | None]:
        request = calls.build_rate_limits(self._settings, lease, self._new_id(), self._plan.model)
        whole = yield from self._upstream.call(request, MAX_ERROR_BODY, within=QUOTA_PATIENCE)
        if isinstance(whole, Failure):
            return whole
        if whole.status != 200:
            return read_refusal(whole.status, whole.headers, whole.body)
        try:
            return calls.read_rate_limits(whole.body)
        except RemoteProtocolError:
            return None  # it was a question beside the point; nobody waits for its answer


def _classify(event: NoCredential) -> FailureKind:
    """What it means to the client that there is no credential."""
    if event.silent:
        return FailureKind.OVERLOADED
    if event.retry_after is not None or event.busy:
        return FailureKind.NO_CREDENTIAL
    return FailureKind.MISCONFIGURED


def _choose(earlier: Failure | None, now: Failure) -> Failure:
    """What to tell the client when a credential failed and there is no other one."""
    if earlier is None:
        return now
    if earlier.kind is FailureKind.RATE_LIMITED:
        return now if now.retry_after is not None else earlier
    return earlier

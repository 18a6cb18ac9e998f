"""One attempt: with one credential, from the client's pictures to the last picture of Grok's.

An attempt is a unit. Uploaded files belong to the account that uploaded them, and a generated
picture can be fetched only with the cookies of the account that drew it; so an attempt that fails
is repeated as a whole, with another credential, or not at all.
"""

from __future__ import annotations

from msgspec.structs import replace

from .. import answer
from ..commands import FetchPreview, ReceiveData, SendData, StorePicture, UpstreamRequest
from ..dialects.base import Encoder
from ..errors import RemoteProtocolError
from ..events import (
    DataReceived,
    EndOfMessage,
    PictureFetched,
    PictureStored,
    ResponseReceived,
)
from ..failures import Failure, FailureKind
from ..grok import calls
from ..grok.payload import build_payload
from ..grok.reader import AnswerReader
from ..grok.refusals import MAX_ERROR_BODY, is_refusal, read_refusal
from ..images import hosts
from ..lease import Lease
from ..media import sniff_media_type, to_base64, to_data_uri
from ..plan import Plan
from ..prompt import MAX_ATTACHMENTS
from ..rendering import Rendering, build_too_long
from ..request import Attachment, FilePart
from ..settings import ImageMode, LongInput, Settings
from ..states import State
from .holdings import Holdings, Steps
from .reply import Reply
from .upstream import Upstream

LINGER = 10.0
"""Seconds to wait for more once Grok has said that its answer is complete. A final message, a
picture or a title may follow; the connection's end sometimes does not."""

PREVIEW_PATIENCE = 10.0
"""Seconds for a preview. The finished picture follows it in about as many, and is not to wait."""


HISTORY_FILE = "conversation.txt"
_POINTER = f"What we said before this is in the attached file {HISTORY_FILE}.\n\n"


class Attempt:
    """One attempt. `run` tells what went wrong, or how the answer ended.

    Args:
        plan: What is asked.
        lease: The credential it is asked with.
        encoder: A fresh one.
        settings: The operator's.
        request_id: Makes a fresh id for each call to Grok.
        holdings: What the exchange holds.
        reply: What the client has been told.
        upstream: How Grok is reached.
    """

    def __init__(
        self,
        plan: Plan,
        lease: Lease,
        encoder: Encoder,
        settings: Settings,
        request_id: str,
        holdings: Holdings,
        reply: Reply,
        upstream: Upstream,
    ) -> None:
        self._plan = plan
        self._lease = lease
        self._settings = settings
        self._request_id = request_id
        self._holdings = holdings
        self._reply = reply
        self._upstream = upstream
        self.rendering = Rendering(plan.request, settings, encoder.encode, encoder.encode_run)
        self._reader = AnswerReader(max_line_bytes=settings.max_line_bytes)
        drawing = plan.request.drawing
        self._previews_left = 0 if drawing is None else drawing.previews

    @property
    def unknown(self) -> tuple[answer.Unknown, ...]:
        """Names in Grok's answer that nobody here knows."""
        return self._reader.unknown

    def run(self) -> Steps[answer.EndReason | Failure]:
        """Ask, and pass the answer on; end neither the reply nor the lease."""
        response = yield from self._ask()
        if isinstance(response, Failure):
            return response
        if is_refusal(response.status, dict(response.headers)):
            return (yield from self._read_refusal(response))
        self._holdings.answered = True
        self._holdings.enter(State.READING)
        ended = yield from self._read_answer()
        if isinstance(ended, Failure):
            return ended
        drawing = self._plan.request.drawing
        if drawing is not None:
            del self.rendering.pictures[drawing.count :]
            if not self.rendering.pictures:
                return _drew_nothing(ended)
        for address in self.rendering.pictures:
            failure = yield from self._give_picture(address)
            if failure is not None:
                return failure
        yield from self._give(answer.Ended(ended))
        return ended

    def _ask(self) -> Steps[ResponseReceived | Failure]:
        """Send the question. What it is made of may be large, and is let go of with the head."""
        file_ids = yield from self._upload_attachments()
        if isinstance(file_ids, Failure):
            return file_ids
        message = yield from self._shorten(file_ids)
        if isinstance(message, Failure):
            return message
        self._holdings.enter(State.ASKING)
        payload = build_payload(
            self._plan.model,
            message,
            file_ids=file_ids,
            temporary=self._settings.temporary,
            pictures=0 if self._plan.request.drawing is None else self._plan.request.drawing.count,
        )
        request = calls.build_conversation(self._settings, self._lease, self._request_id, payload)
        self._holdings.asked = True
        return (yield from self._upstream.open(request))

    def _read_refusal(self, response: ResponseReceived) -> Steps[Failure]:
        body = yield from self._upstream.receive_body(MAX_ERROR_BODY)
        if isinstance(body, Failure):
            body = b""  # the status says enough
        return read_refusal(response.status, dict(response.headers), body)

    # Files in

    def _upload_attachments(self) -> Steps[list[str] | Failure]:
        file_ids: list[str] = []
        for attachment in self._plan.prompt.attachments:
            uploaded = yield from self._upload(attachment)
            if isinstance(uploaded, Failure):
                return uploaded
            file_ids.append(uploaded)
        return file_ids

    def _shorten(self, file_ids: list[str]) -> Steps[str | Failure]:
        """The message; where it is too long, what is older goes up as a file."""
        prompt, settings = self._plan.prompt, self._settings
        if (
            settings.long_input is not LongInput.FILE
            or len(prompt.message) <= settings.long_input_chars
            or not prompt.older
            or len(file_ids) >= MAX_ATTACHMENTS
        ):
            return prompt.message
        content = to_base64(prompt.older.encode("utf-8", "replace"))
        uploaded = yield from self._upload(FilePart(content, HISTORY_FILE))
        if isinstance(uploaded, Failure):
            return prompt.message if uploaded.kind is FailureKind.REJECTED else uploaded
        file_ids.append(uploaded)
        return _POINTER + prompt.question

    def _upload(self, file: Attachment) -> Steps[str | Failure]:
        self._holdings.enter(State.UPLOADING)
        request = calls.build_upload(self._settings, self._lease, self._request_id, file)
        whole = yield from self._upstream.call(request, MAX_ERROR_BODY)
        if not isinstance(whole, Failure) and whole.status == 404:
            request = calls.build_upload(
                self._settings, self._lease, self._request_id, file, rpc=True
            )
            whole = yield from self._upstream.call(request, MAX_ERROR_BODY, again=True)
        if isinstance(whole, Failure):
            return whole
        what = "file" if isinstance(file, FilePart) else "picture"
        if not 200 <= whole.status < 300:
            failure = read_refusal(whole.status, whole.headers, whole.body)
            if whole.status in (400, 413, 415, 422) and failure.kind is FailureKind.UPSTREAM:
                return replace(
                    failure,
                    kind=FailureKind.REJECTED,
                    message=f"Grok did not take the {what}: {failure.message}",
                )
            return failure
        try:
            return calls.read_upload(whole.body)
        except RemoteProtocolError as exc:
            return Failure(
                FailureKind.UPSTREAM, f"Grok took the {what}, but {exc}; try again later."
            )

    # The answer

    def _read_answer(self) -> Steps[answer.EndReason | Failure]:
        reader = self._reader
        room = self._settings.max_answer_bytes
        holdings, reply, upstream = self._holdings, self._reply, self._upstream
        while True:
            # Once for each read: no generator is made on the way of a token.
            patience = LINGER if reader.end_seen else self._settings.idle_timeout
            deadline = min(holdings.now + patience, upstream.ends)
            event = yield ReceiveData(min(deadline, reply.next_ping))
            failure: Failure | None = None
            excess: Failure | None = None
            if type(event) is not DataReceived:
                event = yield from upstream.settle(event, patience, deadline)
            if type(event) is DataReceived:
                reader.receive_data(event.data if len(event.data) <= room else event.data[:room])
                room -= len(event.data)
                if room < 0:
                    excess = build_too_long(self._settings.max_answer_bytes)
                elif holdings.now > upstream.ends:  # it comes too fast for a timeout between
                    excess = upstream.tell_no_end()
            elif isinstance(event, EndOfMessage):
                reader.receive_eof(framed=event.framed)
            else:
                if not reader.end_seen:
                    failure = event
                # What is held back is text all the same, and the client shall have it.
                reader.receive_eof(framed=failure is None)
            pieces, ended = self.rendering.read(reader)
            data = b"".join(pieces)
            if data:
                if reply.note_sending():
                    yield SendData(data)
                else:
                    yield from reply.send(data)
            if self._previews_left and self.rendering.previews:
                yield from self._give_previews()
            ended = failure or ended or excess  # the end may have come before there was too much
            if ended is not None:
                yield from holdings.close()
                return ended

    def _give(self, event: answer.AnswerEvent) -> Steps[None]:
        data = b"".join(self.rendering.render(event))
        if data:
            yield from self._reply.send(data)

    # Pictures out

    def _give_previews(self) -> Steps[None]:
        """Pass on what is drawn so far. One that cannot be had is no loss: a better one follows."""
        while self._previews_left and self.rendering.previews:
            address = self.rendering.previews.pop(0)
            if address.startswith(("http://", "https://", "data:")):
                continue
            request = calls.build_download(self._settings, self._lease, address)
            limit = self._settings.max_image_bytes
            event = yield FetchPreview(request, PREVIEW_PATIENCE, limit)
            if isinstance(event, PictureFetched) and sniff_media_type(event.data) is not None:
                self._previews_left -= 1
                yield from self._give(answer.PartialPicture(event.data))

    def _give_picture(self, address: str) -> Steps[Failure | None]:
        drawing = self._plan.request.drawing
        as_data = drawing is not None and drawing.as_data
        if address.startswith(("http://", "https://", "data:")):
            if as_data:
                return _no_picture("The picture is not where Grok keeps its pictures")
            picture = answer.Picture(address)  # another host's: the client may fetch it
        elif self._settings.image_mode is ImageMode.UPSTREAM and not as_data:
            picture = answer.Picture(f"{self._settings.assets_url}/{address}")
        else:
            fetched = yield from self._fetch(address)
            if isinstance(fetched, Failure):
                return fetched
            link = "" if as_data else (yield from self._host(fetched))
            picture = answer.Picture(link, fetched)
        yield from self._give(picture)
        return None

    def _fetch(self, address: str) -> Steps[bytes | Failure]:
        limit = self._settings.max_image_bytes
        failure: Failure | None = None
        while failure is None or not self._upstream.repeated:
            # The answer is there and has cost a call: its picture is worth a second try.
            self._holdings.enter(State.FETCHING)
            request = calls.build_download(self._settings, self._lease, address)
            whole = yield from self._upstream.call(request, limit, again=failure is not None)
            if isinstance(whole, Failure):
                failure = whole
            elif whole.status != 200:
                failure = read_refusal(whole.status, whole.headers, whole.body[:MAX_ERROR_BODY])
            elif len(whole.body) > limit:
                return _no_picture(f"it is larger than {limit} bytes")
            elif sniff_media_type(whole.body) is None:
                failure = _no_picture("what came is no picture")
            else:
                return whole.body
        return replace(
            failure, message=f"The picture was made but could not be fetched: {failure.message}"
        )

    def _host(self, picture: bytes) -> Steps[str]:
        media_type = sniff_media_type(picture)
        assert media_type is not None
        mode = self._settings.image_mode
        if mode is ImageMode.LOCAL:
            self._holdings.enter(State.HOSTING)
            stored = yield StorePicture(picture, media_type)
            if isinstance(stored, PictureStored):
                return stored.url
        for host in self._settings.image_hosts if mode is ImageMode.HOST else ():
            self._holdings.enter(State.HOSTING)
            request: UpstreamRequest = hosts.build_upload(host, picture, media_type)
            whole = yield from self._upstream.call(request, MAX_ERROR_BODY)
            if not isinstance(whole, Failure):
                link = hosts.read_link(host, whole.status, whole.body)
                if link is not None:
                    return link
        return to_data_uri(picture, media_type)


def _no_picture(why: str) -> Failure:
    return Failure(FailureKind.UPSTREAM, f"{why}; try again.")


def _drew_nothing(reason: answer.EndReason) -> Failure:
    if reason is answer.EndReason.MODERATED:
        what = "Grok's moderation held back what it drew"
    else:
        what = "Grok answered in words and drew nothing"
    return Failure(FailureKind.REJECTED, f"{what}; try another prompt.")

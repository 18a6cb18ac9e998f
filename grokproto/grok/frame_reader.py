"""Reading frames: what each says of the answer, as answer events.

How frames are read (docs/wire.md 4):

- A token is dropped when its tag says that it belongs to a tool. It is reasoning when Grok says so
  (`isThinking`), when its tag is `header` or `summary`, or when it belongs to a step and is not
  tagged `final`. Every other token is answer text, whatever its tag.
- A heading of the thinking (tag `header`) gets a line of its own.
- The final message repeats the whole answer. It is the answer where no token was, and it repairs a
  lost tail; where it differs otherwise, the streamed text stands.
- Where Grok tries two answers side by side, the second one is not there.
- Unknown payloads are counted and passed over.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from .. import answer
from ..failures import Failure
from .drift import Drift
from .frames import Frame, ResponseFrame, decode_damaged_frame, decode_frame, decode_payload
from .markup import MarkupStripper
from .pictures import Found, PictureSorter
from .refusals import read_error, read_stream_error
from .runs import Mould, build_mould
from .search import list_pages, list_posts, read_card, read_pages

MAX_RESULTS = 2000
"""Search results reported for one answer."""
MAX_REPAIR = 256 * 1024
"""Characters of streamed text that are kept to compare with the final message."""
_MAX_MOULDED = 4096
"""Bytes of a line of which a mould is worth making: those that follow it are about as long."""
_MAX_ANSWERS = 16
"""Ids of further answers that are kept; there has never been more than one."""

_TOOL_TAGS = frozenset({"tool_usage_card", "raw_function_result"})
_STEP_TAGS = frozenset({"header", "summary"})


class FrameReader:
    """Takes the frames of one answer, one by one or in runs. A `lines.Taker`."""

    def __init__(self) -> None:
        self.events: deque[answer.AnswerEvent | answer.Run] = deque()
        """What was read, to be taken out."""
        self.mould: Mould | None = None
        """What a token's line is like, for the lines to come."""
        self._misfits = 0
        """Lines of tokens in a row that were not of the mould."""
        self._answer_markup = MarkupStripper()
        self._reasoning_markup = MarkupStripper()
        self._raw: list[str] | None = []
        """The answer's tokens as they came; None once they are too many to keep."""
        self._raw_length = 0
        self._other_answers: set[str] = set()
        self._urls: set[str] = set()
        self._citations: set[answer.Citation] = set()
        self.pictures = PictureSorter()
        self._line_ended = True
        """The thinking so far ends with a line feed, or has not begun."""
        self.anything = False
        """Text or a picture was given out."""
        self.over = False
        """No more frames are read."""
        self.end_mark = False
        """Grok has said that the answer is complete."""
        self.drift = Drift()

    def flush(self) -> None:
        """Give what was held back and has turned out to be text."""
        held = self._reasoning_markup.flush()
        if held:
            self.events.append(answer.Reasoning(held))
        self._give_text(self._answer_markup.flush())

    def fail(self, failure: Failure) -> None:
        """End the answer with a failure."""
        self.flush()
        self.over = True
        self.events.append(answer.Failed(failure))

    # Runs of tokens

    def take_run(self, run: answer.Run, mould: Mould) -> None:
        """See `lines.Taker`."""
        if self.over or self._is_other(mould.identity):
            return
        self._misfits = 0
        markup = self._reasoning_markup if run.thinking else self._answer_markup
        if not markup.passes:
            for token in run.events():
                if run.thinking:
                    self._give_reasoning(token.text, is_heading=False)
                else:
                    self._keep_raw(token.text)
                    self._give_text(self._answer_markup.receive(token.text))
            return
        if run.thinking:
            self._line_ended = run.text.endswith("\n")
        else:
            self._keep_raw(run.text)
            self.anything = True
        self.events.append(run)

    def _fit(self, line: bytes, frame: Frame, *, thinking: bool) -> None:
        """Take note of the line of a token; those to come may be like it."""
        self._misfits += 1
        if len(line) <= _MAX_MOULDED and (self.mould is None or self._misfits > 1):
            self.mould = build_mould(line, frame, thinking=thinking)
            self.drift.glance(line)

    # Frames

    def take(self, data: bytes) -> bool:
        """See `lines.Taker`."""
        frame = decode_frame(data)
        if frame is None:
            return False
        if not self.over:
            self._read_frame(frame, data)
        return True

    def take_damaged(self, data: bytes) -> bool:
        """See `lines.Taker`."""
        frame = decode_damaged_frame(data)
        if frame is None:
            return False
        if not self.over:
            self._read_frame(frame, data)
        return True

    def _read_frame(self, frame: Frame, data: bytes) -> None:
        if frame.error is not None:
            self.fail(read_error(frame.error))
            return
        result = frame.result
        if result is None:
            if frame.code is not None and frame.message is not None:
                self.fail(read_error({"code": frame.code, "message": frame.message}))
                return
            result = frame
        response = result.response or result
        if self._belongs_elsewhere(response):
            return
        token = response.token
        if type(token) is str:
            thinking = self._read_token(token, response) if token else None
            if not self._read_payloads(response) and thinking is not None:
                if response.is_soft_stop is not True and response.error is None:
                    self._fit(data, frame, thinking=thinking)
        elif self._read_payloads(response):
            self.drift.glance(data)
        else:
            self.drift.look(data)
        if response.is_soft_stop is True:
            self.end_mark = True
        if response.error is not None:
            failure = read_stream_error(response.error)
            if failure is not None:
                self.fail(failure)

    def _belongs_elsewhere(self, response: ResponseFrame) -> bool:
        """Whether this is a frame of a second answer beside ours."""
        identity = response.response_id
        index = response.side_by_side_index
        if isinstance(index, int) and index >= 1:
            if isinstance(identity, str) and len(self._other_answers) < _MAX_ANSWERS:
                self._other_answers.add(identity)
            return True
        return self._is_other(identity)

    def _is_other(self, identity: Any) -> bool:
        return isinstance(identity, str) and identity in self._other_answers

    def _read_token(self, token: str, response: ResponseFrame) -> bool | None:
        """Read a token; say whether others like it are thinking, and None where that depends."""
        tag = response.message_tag
        if isinstance(tag, str) and tag in _TOOL_TAGS:
            return None
        if (
            response.is_thinking is True
            or (isinstance(tag, str) and tag in _STEP_TAGS)
            or (response.message_step_id is not None and tag != "final")
        ):
            self._give_reasoning(token, is_heading=tag == "header")
            return None if tag == "header" else True
        self._keep_raw(token)
        self._give_text(self._answer_markup.receive(token))
        return False

    def _give_reasoning(self, token: str, *, is_heading: bool) -> None:
        text = self._reasoning_markup.receive(token)
        if text:
            self.events.append(answer.Reasoning(self._part(text, is_heading)))

    def _part(self, text: str, is_heading: bool) -> str:
        """Put a heading of the thinking on a line of its own; Grok leaves that to its page."""
        if is_heading:
            text = text if text.endswith("\n") else text + "\n"
            text = text if self._line_ended else "\n" + text
        self._line_ended = text.endswith("\n")
        return text

    def _give_text(self, text: str) -> None:
        start = 0
        for place, card in self._answer_markup.marks:
            if place > start:
                self.events.append(answer.Text(text[start:place]))
                start = place
            self.events.append(answer.Cited(card))
        if start:
            text = text[start:]
        if text:
            self.events.append(answer.Text(text))
        if text or start:
            self.anything = True

    def _keep_raw(self, token: str) -> None:
        self._raw_length += len(token)
        if self._raw is not None:
            if self._raw_length <= MAX_REPAIR:
                self._raw.append(token)
            else:
                self._raw = None

    def _read_payloads(self, response: ResponseFrame) -> bool:
        """Read what a frame carries beside a token; say whether it carried anything known."""
        known = False
        if response.web_search_results:
            known = True
            self._report(answer.SearchSource.WEB, read_pages(response.web_search_results))
        if response.x_search_results:
            known = True
            posts = list_posts(decode_payload(response.x_search_results))
            self._report(answer.SearchSource.X, posts)
        if response.card_attachment:
            known = True
            attachment = decode_payload(response.card_attachment)
            if isinstance(attachment, dict):
                self._read_card(attachment.get("jsonData"))
        if response.cached_image_generation_response:
            known = True
            cached = decode_payload(response.cached_image_generation_response)
            self._show(self.pictures.read_cached(cached))
        if response.streaming_image_generation_response:
            known = True
            progress = response.streaming_image_generation_response
            self._show(self.pictures.read_progress(progress))
        if response.model_response:
            known = True
            message = decode_payload(response.model_response)
            if isinstance(message, dict):
                self._read_final_message(message)
        return known

    def _read_final_message(self, message: dict[str, Any]) -> None:
        if self._is_other(message.get("responseId")):
            return
        self.end_mark = True
        self._report(answer.SearchSource.WEB, list_pages(message.get("webSearchResults")))
        text = message.get("message")
        if isinstance(text, str) and self._raw is not None and len(text) > self._raw_length:
            # Only then is it worth what it costs: final messages may come by the thousand.
            raw = "".join(self._raw)
            if text.startswith(raw):
                tail = text[len(raw) :]
                self._keep_raw(tail)
                self._give_text(self._answer_markup.receive(tail))
        cards = message.get("cardAttachmentsJson")
        for card in cards if isinstance(cards, list) else ():
            self._read_card(card)
        self._show(self.pictures.read_urls(message.get("generatedImageUrls")))

    def _read_card(self, json_data: Any) -> None:
        card = read_card(json_data)
        self._show(self.pictures.read_card(card))
        if card.get("cardType") != "citation_card":
            return
        url, identity = card.get("url"), card.get("id")
        if isinstance(url, str) and url:
            citation = answer.Citation(url, identity if isinstance(identity, str) else "")
            if citation not in self._citations and len(self._citations) < MAX_RESULTS:
                self._citations.add(citation)
                self.events.append(citation)

    def _show(self, pictures: list[Found]) -> None:
        for picture in pictures:
            self.anything = self.anything or type(picture) is answer.Image
            self.events.append(picture)

    def _report(self, source: answer.SearchSource, results: list[answer.SearchResult]) -> None:
        fresh: list[answer.SearchResult] = []
        for result in results:
            if result.url not in self._urls and len(self._urls) < MAX_RESULTS:
                self._urls.add(result.url)
                fresh.append(result)
        if fresh:
            self.events.append(answer.SearchResults(source, tuple(fresh)))

"""The frames of an answer, made from what was asked. The shapes are those of docs/wire.md 4.

The same question gives the same answer, but for the ids.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import attrs
import msgspec

JSON = dict[str, Any]

_WORDS = (
    "simulated answers are made of plain words so that a reader sees each token arrive and a "
    "program can count them without having to know what they mean"
).split()
_TOOL_CARD = (
    "<xai:tool_usage_card><xai:tool_usage_card_id>t1</xai:tool_usage_card_id><xai:tool_name>"
    'web_search</xai:tool_name><xai:tool_args><![CDATA[{"query":"a < b"}]]></xai:tool_args>'
    "</xai:tool_usage_card>"
)
_CITATION = (
    '<grok:render card_id="c1" card_type="citation_card" ',
    'type="render_inline_citation"><argument name="citation_id">0</argument></grok:',
    "render>",
)
_THINKING_MODES = ("expert", "heavy")

RESULTS = (
    ("https://example.com/first", "The first page"),
    ("https://example.org/second?a=1&b=2", "The second [page]"),
)
POST = {"username": "someone_example", "name": "Someone", "text": "A post.", "postId": "101"}
IMAGE_FORMS = ("cached", "streaming", "card", "final")


@attrs.frozen
class Style:
    """How an answer is made; what the request does not say."""

    tokens: int = 12
    """Tokens of the answer, besides those that quote the question."""
    image_form: str = "streaming"
    """One of `IMAGE_FORMS`: the frames that tell of a picture. `final` is the last message."""
    framing: str = "lines"
    """One of `framing.FRAMINGS`."""
    moderated: bool = False
    """Pictures are held back by moderation, though the last message lists them all the same."""
    pictures: int = 2
    """How many are drawn."""
    soft_stop: bool = True
    """The answer has a soft stop and a last message."""
    text: str | None = None
    """The answer, where the question does not say what it shall be."""


_SAY = re.compile(r"\[\[say:(.*?):say\]\]", re.DOTALL)
_WORD = re.compile(r"\S+\s*|\s+")


def read_wish(message: str) -> str | None:
    """What whoever asks wants to be answered: a message that holds `[[say:WORDS:say]]` is answered
    with these words. Where there are several, the first answer of the conversation is the first of
    them, and so on."""
    wishes = _SAY.findall(message)
    given = len(re.findall(r"^ASSISTANT: ", message, re.MULTILINE))
    return wishes[min(given, len(wishes) - 1)] if wishes else None


def read_question(message: str) -> str:
    """What the user said last."""
    return f"\n{message}".rpartition("\nUSER: ")[2].strip()


class AnswerBuilder:
    """Makes the frames of one answer.

    Args:
        payload: The body of the question.
        style: What it does not say.
        picture_paths: Where the pictures that may be drawn can be fetched, later.
        identity: Numbers the conversation.
    """

    def __init__(
        self, payload: JSON, style: Style, picture_paths: list[str], identity: int
    ) -> None:
        self._payload = payload
        self._style = style
        self._paths = picture_paths
        self._conversation = f"00000000-0000-4000-9000-{identity:012d}"
        self._user = f"00000000-0000-4000-9001-{identity:012d}"
        self._model = f"00000000-0000-4000-9002-{identity:012d}"
        self._other = f"00000000-0000-4000-9004-{identity:012d}"
        message = str(payload.get("message", ""))
        self._question = read_question(message)
        wish = read_wish(message)
        self._text = style.text if wish is None else wish
        overrides = payload.get("toolOverrides")
        tools: JSON = overrides if isinstance(overrides, dict) else {}
        self.draws = tools.get("imageGen") is True
        self._deep = bool(payload.get("deepsearchPreset"))
        self._searches = tools.get("webSearch") is True or self._deep
        self._searches_x = tools.get("xSearch") is True
        self._files = payload.get("fileAttachments") or []
        self._mode = payload.get("modeId")

    @property
    def _today(self) -> bool:
        """Asked as the site asks since 2026, and so answered."""
        return self._mode is not None

    def frames(self) -> Iterator[JSON]:
        """All frames, in order."""
        yield {"result": {"conversation": self._describe_conversation()}}
        echo = self._message(self._user, str(self._payload.get("message")), "human")
        echo["fileAttachments"] = self._files
        yield self._response(userResponse=echo, responseId=self._user)
        yield from self._attachments()
        if self._today:
            yield self._response(uiLayout={"reasoningUiLayout": "SPLIT", "effort": "LOW"})
            yield self._response(llmInfo={"modelHash": "simulated"})
            yield self._response(uiLayout={"reasoningUiLayout": "FUNCTION_CALL", "effort": "LOW"})
        yield from self._thinking()
        yield from self._search()
        tokens = self._answer()
        for token in tokens:
            yield self._response(token=token, **({"messageTag": "final"} if self._today else {}))
            if self._payload.get("enableSideBySide") is True:
                yield self._response(token="other ", sideBySideIndex=1, responseId=self._other)
        if self._searches:
            yield self._card(self._citation())
        yield from self._pictures()
        if not self._style.soft_stop:
            return
        yield self._response(token="", isSoftStop=True)
        if self._payload.get("sendFinalMetadata") is True:
            yield self._response(finalMetadata={"followUpSuggestions": [], "toolsUsed": {}})
        yield self._response(modelResponse=self._final_message("".join(tokens)))
        yield {"result": {"title": {"newTitle": "A simulated conversation"}}}

    def _response(self, **fields: Any) -> JSON:
        frame = {"isThinking": False, "isSoftStop": False, "responseId": self._model, **fields}
        return {"result": {"response": frame}}

    def _attachments(self) -> Iterator[JSON]:
        for _ in self._files:
            for state in ("PENDING", "SUCCESS"):
                yield self._response(
                    progressReport={
                        "category": "PROGRESS_REPORT_CATEGORY_ATTACHMENTS_PREPROCESSING",
                        "state": f"PROGRESS_REPORT_STATUS_{state}",
                    }
                )
        if self._files:
            yield self._response(imageAttachmentInfo={"imageAttachmentCount": len(self._files)})

    def _thinking(self) -> Iterator[JSON]:
        if self._payload.get("isReasoning") is True:
            for word in ("Weighing ", "the ", "question.\n"):
                yield self._response(token=word, isThinking=True)
        if self._deep:
            step: JSON = {"isThinking": True, "messageStepId": 1}
            yield self._response(token="Planning", messageTag="header", **step)
            yield self._response(token="Two pages to read. ", messageTag="assistant", **step)
            yield self._response(token={"action": "webSearch", "action_input": {}}, **step)
            yield self._response(token=[{"action": "browsePage"}], **step)
            yield self._response(token="Two pages agree.", messageTag="summary", **step)
        if self._mode in _THINKING_MODES:
            step = {"isThinking": True, "messageStepId": 0}
            if self._mode == "heavy":
                step["rolloutId"] = "Agent 1"
            yield self._response(token="Thinking about your request", messageTag="header", **step)
            yield self._response(token="Weighing it.\n", messageTag="summary", **step)

    def _search(self) -> Iterator[JSON]:
        tool: JSON = {}
        if self._searches and self._today:
            tool = {
                "isThinking": True,
                "messageTag": "raw_function_result",
                "toolUsageCardId": "t1",
            }
            yield self._response(
                **{**tool, "messageTag": "tool_usage_card"},
                token=_TOOL_CARD,
                toolUsageCard={"toolUsageCardId": "t1", "webSearch": {"args": {"query": "a < b"}}},
            )
        elif self._searches:
            for piece in (_TOOL_CARD[:11], _TOOL_CARD[11:90], _TOOL_CARD[90:]):
                yield self._response(token=piece, isThinking=True)
        if self._searches:
            yield self._response(webSearchResults={"results": _pages()}, **tool)
        if self._searches_x:
            yield self._response(xSearchResults={"results": [POST]}, **tool)
        if tool:
            yield self._response(token="", **tool)

    def _answer(self) -> list[str]:
        if self.draws:
            tokens = ["I made ", f"{len(self._paths)} pictures."]
            if self._style.image_form == "card":
                tokens += [
                    f'<grok:render card_id="p{index}" card_type="generated_image_card" '
                    'type="render_generated_image"></grok:render>'
                    for index in range(len(self._paths))
                ]
            return tokens
        if self._text is not None:
            return _WORD.findall(self._text)
        words = itertools.islice(itertools.cycle(_WORDS), self._style.tokens)
        quoted = [f"{word} " for word in self._question[:200].split()]
        tokens = ["You ", "asked: ", *quoted, "— ", *(f"{word} " for word in words)]
        if self._files:
            tokens += ["I ", "see ", f"{len(self._files)} ", "pictures. "]
        if self._searches:
            tokens += _CITATION
        tokens.append("Done.")
        return tokens

    def _pictures(self) -> Iterator[JSON]:
        if not self.draws:
            return
        if self._style.image_form == "cached":
            yield self._response(doImgGen=True)
        for index, path in enumerate(self._paths):
            final: JSON = {
                "imageUrl": path,
                "progress": 100,
                "imageIndex": index,
                "moderated": self._style.moderated,
            }
            preview = {**final, "imageUrl": preview_path(path), "progress": 50, "moderated": False}
            match self._style.image_form:
                case "cached":
                    cached = {"imageUrl": f"/{path}", "moderated": self._style.moderated}
                    yield self._response(cachedImageGenerationResponse=cached)
                case "streaming":
                    for stage in (preview, final):
                        yield self._response(streamingImageGenerationResponse=stage)
                case "card":
                    for chunk in (None, preview, final):
                        card = {"id": f"p{index}", "cardType": "generated_image_card"}
                        yield self._card({**card, "image_chunk": chunk})

    def _card(self, card: JSON) -> JSON:
        return self._response(cardAttachment={"jsonData": _json_text(card)})

    def _citation(self) -> JSON:
        return {"id": "c1", "cardType": "citation_card", "url": RESULTS[0][0]}

    def _describe_conversation(self) -> JSON:
        return {
            "conversationId": self._conversation,
            "title": "New conversation",
            "temporary": self._payload.get("temporary") is True,
        }

    def _message(self, identity: str, text: str, sender: str) -> JSON:
        return {"responseId": identity, "message": text, "sender": sender}

    def _final_message(self, text: str) -> JSON:
        sender = "assistant" if self._today else "ASSISTANT"
        message = self._message(self._model, text, sender)
        urls = self._paths if self.draws and self._style.image_form != "card" else []
        message["generatedImageUrls"] = [f"https://assets.grok.com/{path}" for path in urls]
        message["cardAttachmentsJson"] = [_json_text(self._citation())] if self._searches else []
        message["webSearchResults"] = _pages() if self._searches else []
        return message


def _pages() -> list[JSON]:
    return [{"url": url, "title": title, "preview": ""} for url, title in RESULTS]


def preview_path(path: str) -> str:
    """Where the unfinished state of a picture is."""
    head, _, name = path.rpartition("/")
    return f"{head}-part-0/{name}"


def _json_text(value: JSON) -> str:
    return msgspec.json.encode(value).decode()

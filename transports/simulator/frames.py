"""The frames of an answer, made from what was asked. The shapes are those of docs/wire.md 4."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import attrs
import msgspec

JSON = dict[str, Any]

_LAST_TURN = re.compile(r"(?s).*^USER: (.*)\Z", re.MULTILINE)
_WORDS = (
    "simulated answers are made of plain words so that a reader sees each token arrive and a "
    "program can count them without having to know what they mean"
).split()

RESULTS = (
    ("https://example.com/first", "The first page"),
    ("https://example.org/second?a=1&b=2", "The second [page]"),
)
IMAGE_FORMS = ("cached", "streaming", "card", "final")
FRAMINGS = ("lines", "joined", "crlf", "sse")


@attrs.frozen
class Style:
    """How an answer is made; what the request does not say."""

    tokens: int = 12
    """Tokens of the answer, besides those that quote the question."""
    image_form: str = "streaming"
    """One of `IMAGE_FORMS`."""
    framing: str = "lines"
    """One of `FRAMINGS`."""
    moderated: bool = False
    """Pictures are held back by moderation."""


def read_question(message: str) -> str:
    """What the user said last."""
    found = _LAST_TURN.match(message)
    return (found[1] if found else message).strip()


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
        self._question = read_question(str(payload.get("message", "")))
        overrides = payload.get("toolOverrides")
        tools: JSON = overrides if isinstance(overrides, dict) else {}
        self.draws = tools.get("imageGen") is True
        self._searches = tools.get("webSearch") is True or bool(payload.get("deepsearchPreset"))
        self._tags = "modeId" in payload

    def frames(self) -> Iterator[JSON]:
        """All frames, in order."""
        yield {"result": {"conversation": self._describe_conversation()}}
        yield self._response(
            {"userResponse": self._message(self._user, str(self._payload.get("message")), "human")},
            response_id=self._user,
        )
        for _ in self._payload.get("fileAttachments") or ():
            for state in ("PENDING", "SUCCESS"):
                yield self._response(
                    {
                        "progressReport": {
                            "category": "PROGRESS_REPORT_CATEGORY_ATTACHMENTS_PREPROCESSING",
                            "state": f"PROGRESS_REPORT_STATUS_{state}",
                        }
                    }
                )
        if self._tags:
            yield self._response({"uiLayout": {"reasoningUiLayout": "SPLIT", "effort": "LOW"}})
            yield self._response({"llmInfo": {"modelHash": "simulated"}})
        yield from self._thinking()
        text = self._answer()
        for token in text:
            yield self._response(self._token(token))
        yield from self._pictures()
        yield self._response({"token": "", "isSoftStop": True})
        yield self._response({"modelResponse": self._final_message("".join(text))})
        yield {"result": {"title": {"newTitle": "A simulated conversation"}}}

    def _response(self, fields: JSON, *, response_id: str | None = None) -> JSON:
        frame = {"isThinking": False, "isSoftStop": False, "responseId": self._model, **fields}
        if response_id is not None:
            frame["responseId"] = response_id
        return {"result": {"response": frame}}

    def _token(self, token: str) -> JSON:
        return {"token": token, **({"messageTag": "final"} if self._tags else {})}

    def _thinking(self) -> Iterator[JSON]:
        if self._payload.get("isReasoning") is True:
            for word in ("Weighing ", "the ", "question.\n"):
                yield self._response({"token": word, "isThinking": True})
        if self._payload.get("deepsearchPreset"):
            step = {"isThinking": True, "messageStepId": 1}
            yield self._response({"token": "Planning", "messageTag": "header", **step})
            yield self._response({"token": {"action": "webSearch", "action_input": {}}, **step})
            yield self._response({"token": "Two pages agree.", "messageTag": "summary", **step})
        if self._searches:
            card = (
                "<xai:tool_usage_card><xai:tool_name>web_search</xai:tool_name>"
                "</xai:tool_usage_card>"
            )
            for piece in (card[:11], card[11:40], card[40:]):
                yield self._response({"token": piece, "isThinking": True})
            results = [{"url": url, "title": title} for url, title in RESULTS]
            yield self._response({"webSearchResults": {"results": results}})

    def _answer(self) -> list[str]:
        if self.draws:
            return ["I made ", f"{len(self._paths)} pictures."]
        words = itertools.islice(itertools.cycle(_WORDS), self._style.tokens)
        quoted = [f"{word} " for word in self._question[:200].split()]
        tokens = ["You ", "asked: ", *quoted, "— ", *(f"{word} " for word in words)]
        files = self._payload.get("fileAttachments")
        if files:
            tokens += ["I ", "see ", f"{len(files)} ", "pictures. "]
        if self._searches:
            tokens += [
                '<grok:render card_id="c1" card_type="citation_card" ',
                'type="render_inline_citation"><argument name="citation_id">0</argument></grok:',
                "render>",
            ]
        tokens.append("Done.")
        return tokens

    def _pictures(self) -> Iterator[JSON]:
        if self._searches:
            card = {"id": "c1", "cardType": "citation_card", "url": RESULTS[0][0]}
            yield self._card(card)
        if not self.draws:
            return
        moderated = self._style.moderated
        for index, path in enumerate(self._paths):
            final = {
                "imageUrl": path,
                "progress": 100,
                "imageIndex": index,
                "moderated": moderated,
            }
            preview = {**final, "imageUrl": _preview(path), "progress": 50}
            match self._style.image_form:
                case "cached":
                    cached = {"imageUrl": f"/{path}", "moderated": moderated}
                    yield self._response({"cachedImageGenerationResponse": cached})
                case "streaming":
                    for stage in (preview, final):
                        yield self._response({"streamingImageGenerationResponse": stage})
                case "card":
                    for chunk in (None, preview, final):
                        yield self._card(
                            {
                                "id": f"p{index}",
                                "cardType": "generated_image_card",
                                "image_chunk": chunk,
                            }
                        )

    def _card(self, card: JSON) -> JSON:
        text = msgspec.json.encode(card).decode()
        return self._response({"cardAttachment": {"jsonData": text}})

    def _describe_conversation(self) -> JSON:
        return {
            "conversationId": self._conversation,
            "title": "New conversation",
            "temporary": self._payload.get("temporary") is True,
        }

    def _message(self, identity: str, text: str, sender: str) -> JSON:
        return {"responseId": identity, "message": text, "sender": sender}

    def _final_message(self, text: str) -> JSON:
        message = self._message(self._model, text, "ASSISTANT")
        urls = self._paths if self.draws and self._style.image_form != "card" else []
        message["generatedImageUrls"] = [f"https://assets.grok.com/{path}" for path in urls]
        message["cardAttachmentsJson"] = []
        message["webSearchResults"] = []
        return message


def _preview(path: str) -> str:
    head, _, name = path.rpartition("/")
    return f"{head}-part-0/{name}"


def frame_bytes(frame: JSON, framing: str) -> bytes:
    """One frame as it is sent."""
    text = msgspec.json.encode(frame)
    # The site escapes these, as browsers' tools show [recorded].
    for character, escape in ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026")):
        text = text.replace(character, escape)
    match framing:
        case "joined":
            return text
        case "crlf":
            return text + b"\r\n"
        case "sse":
            return b"data: " + text + b"\n\n"
    return text + b"\n"


END = {"sse": b"data: [DONE]\n\n"}
"""What ends the stream, by framing."""

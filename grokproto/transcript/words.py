"""What stays in a transcript as it is: words of the protocols, in which nobody says anything.

Without them an exchange would go another way than it went.
"""

from __future__ import annotations

import re

from ..dialects.openai_params import PARAMETERS

_ELEMENTS = ("grok:render", "xai:tool_usage_card", "think>")


def _begin(word: str) -> str:
    """A pattern for the word, or for as much of its beginning as there is."""
    pattern = ""
    for character in reversed(word[1:]):
        pattern = f"(?:{re.escape(character)}{pattern})?"
    return re.escape(word[0]) + pattern


_ANY_ELEMENT = "|".join(_begin(element) for element in _ELEMENTS)

IN_TEXT = re.compile(
    # Tags of Grok's elements; what is in them is looked at by itself.
    r"(?P<tag><(?:grok:render|xai:tool_usage_card)\b)(?P<inside>[^>]*)"
    # Other elements, or as much of one as there is: what may be one is held back.
    rf"|</?(?:{_ANY_ELEMENT})"
    # Speakers, which begin turns where they stand at the beginning of a line.
    r"|\b(?:USER|ASSISTANT|SYSTEM|HUMAN)(?=\s*[:\uff1a])"
    # Pictures in base64, of whatever kind.
    r"|data:image/(?:(?:png|jpe?g|webp|gif|svg\+xml)(?=;base64,))?|;base64,",
    re.IGNORECASE,
)
IN_DATA_URIS = re.compile(
    r"(?P<tag>(?!))|^data:|\b(?:image|text|audio|video|application)(?=/)"
    r"|(?<=/)(?:png|jpe?g|webp|gif|svg\+xml|plain|markdown|html|csv|json|pdf)(?=;)"
    r"|;charset=utf-8(?=;)|;base64,$",
    re.IGNORECASE,
)
"""What stays of what is before the comma; a parameter may be the name of a file."""
IN_CONTENT_TYPES = re.compile(
    r"(?P<tag>(?!))|\b(?:text/(?:html|plain|event-stream)|application/(?:x-ndjson|json)"
    r"|image/(?:png|jpeg|webp|gif)|charset=utf-8)\b",
    re.IGNORECASE,
)
SECONDS = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,3})?")
IN_ERRORS = re.compile(
    r"(?P<tag>(?!))|unauthenticated:|blocked-user|heavy load|overloaded|at capacity"
    r"|temporarily unavailable",
    re.IGNORECASE,
)
IN_PAGES = re.compile(
    r"(?P<tag>(?!))|<!doctype|</?html|<head|<title>Just a moment|_cf_chl_opt"
    r"|/cdn-cgi/challenge-platform/",
    re.IGNORECASE,
)
IN_TAGS = re.compile(
    r"(?P<tag>(?!))"
    # Names of attributes.
    r"|(?<=\s)(?:card_id|card_type|type)(?==)"
    # Their values. That a card cites is told by this one word, wherever it stands in the tag.
    r"|(?<![^\W_])(?:render_inline_citation|render_generated_image|render_searched_image"
    r"|generated_image_card|image_card|citation_card)(?![^\W_])|citation"
)
"""What stays of the inside of a tag. Anybody can write a tag, and anything in it."""
CARD_ID = re.compile(
    r"""(?P<before>\scard_id=)(?P<quote>["'])(?P<id>.*?)(?P<end>(?P=quote)|$)""", re.S
)
"""In a tag: which card it shows."""

KEY = re.compile(r"(?!(?:\D*\d){4})[A-Za-z_][A-Za-z0-9_-]{0,47}")
"""What a key looks like, and no id does."""

GROK_VALUES = frozenset(
    "messageTag severity cardType card_type type code sender modelId modeId model effort "
    "fileMimeType".split()
)
"""Keys of Grok's whose values are words of the protocol, as far as these are known."""
KNOWN_GROK_VALUES = frozenset(
    "final assistant header summary raw_function_result tool_usage_card "
    "STREAM_ERROR_SEVERITY_FATAL STREAM_ERROR_SEVERITY_NORMAL "
    "citation_card generated_image_card image_card ASSISTANT human "
    "grok-latest auto fast expert heavy LOW MEDIUM HIGH "
    "image/png image/jpeg image/webp image/gif text/plain application/json".split()
)
CODE = re.compile(r"[0-9]{1,3}")
"""A number of an error that came as a text."""
GROK_JSON = frozenset({"jsonData", "cardAttachmentsJson"})
"""Keys of Grok's whose values are JSON in a text. An answer may be that too, and is an answer."""
GROK_ADDRESSES = frozenset({"url", "imageUrl", "fileUri", "generatedImageUrls"})

CLIENT_VALUES = frozenset(
    "role type detail thinking_format search_results reasoning_effort tool_choice verbosity "
    "service_tier response_format modalities format size quality style background moderation "
    "output_format effort".split()
)
"""Keys of clients whose values are words of the protocol, as far as these are known."""
KNOWN_VALUES = frozenset(
    "system developer user assistant tool function text input_text output_text image_url "
    "input_image file input_file refusal json_object json_schema none auto required default "
    "minimal low medium high xhigh think reasoning_content hidden front inline annotations list "
    "url b64_json png jpeg webp standard hd vivid natural flex priority audio "
    "object string number integer boolean array null".split()
)
CLIENT_KEYS = frozenset(parameter.name for parameter in PARAMETERS) | frozenset(
    "role content name text type image_url url detail file file_id file_data filename input_image "
    "include_usage include_obfuscation json_schema schema strict description parameters function "
    "arguments tool_calls tool_call_id id refusal prompt size quality style background moderation "
    "output_format output_compression partial_images input instructions max_output_tokens "
    "properties required items enum const anyOf oneOf allOf additionalProperties format pattern "
    "title minimum maximum minLength maxLength minItems maxItems default $ref $defs".split()
)
"""Keys of clients that are part of a protocol; others may say something."""


def are_known(text: str) -> bool:
    """Whether a text is nothing but words of a protocol, with commas between."""
    return KNOWN_VALUES.issuperset(word.strip().lower() for word in text.split(","))

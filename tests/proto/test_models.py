"""`grokproto.models`."""

from __future__ import annotations

import pytest

from grokproto.errors import ConfigurationError, InvalidRequestError
from grokproto.models import BUILT_IN, Model, ModelTable, read_models


def test_built_in_names() -> None:
    table = ModelTable()
    assert len(table) == 12
    assert list(table)[:8] == [
        *("grok-2", "grok-2-search", "grok-2-imageGen", "grok-3", "grok-3-search"),
        *("grok-3-imageGen", "grok-3-deepsearch", "grok-3-reasoning"),
    ]
    assert table["grok-2-search"].group == table["grok-2"].group == "grok-2"


def test_unknown_model() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        ModelTable().find("gpt-9")
    assert (caught.value.status, caught.value.code, caught.value.param) == (
        404,
        "model_not_found",
        "model",
    )


def test_file() -> None:
    table = read_models(
        """
        [[models]]
        name = "grok-4"
        mode = "expert"
        tools = ["webSearch"]
        [[models]]
        name = "grok-3"
        grok_name = "grok-3-new"
        group = "mine"
        [aliases]
        "gpt-4o" = "grok-4"
        """
    )
    assert table["grok-4"] == Model("grok-4", "grok-4", mode="expert", tools=("webSearch",))
    assert table["grok-3"].grok_name == "grok-3-new"
    assert table["gpt-4o"] is table["grok-4"]
    assert len(table) == len(BUILT_IN) + 2


def test_file_with_a_byte_order_mark() -> None:
    assert read_models("\ufeff[aliases]\na = 'grok-3'")["a"].name == "grok-3"
    with pytest.raises(ConfigurationError, match="no TOML"):
        read_models("\ufeff\ufeff")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = ", "no TOML"),
        ("x = 1", "unknown key 'x'"),
        ("models = 1", r"\[\[models\]\]"),
        ("models = [1]", "not a table"),
        ("aliases = 1", r"\[aliases\]"),
        ("[[models]]\nname = 'a'\nmode = 'b'\nthinking = 'nobody'", "refers to 'nobody'"),
        ("[aliases]\na = 1", r"\[aliases\]"),
        ("[aliases]\na = 'nobody'", "which is no model"),
        ("[aliases]\n'grok-3' = 'grok-2'", "already the name"),
        ("[[models]]\nname = 'a'\nsize = 1", "unknown key 'size'"),
        ("[[models]]\nname = 7", "must be of type str"),
        ("[[models]]\nmode = 'x'", "has no name"),
        ("[[models]]\nname = 'a'", "exactly one"),
        ("[[models]]\nname = 'a'\nmode = 'b'\ngrok_name = 'c'", "exactly one"),
        ("[[models]]\nname = 'a'\nmode = 'b'\ntools = ['fly']", "unknown tool 'fly'"),
    ],
)
def test_wrong_files(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read_models(text)

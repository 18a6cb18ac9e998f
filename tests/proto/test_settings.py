"""Settings of a wrong type are told at once; else they would be taken for others."""

from __future__ import annotations

from typing import Any

import pytest

from grokproto import SearchFormat, Secret, Settings


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"thinking": "hidden"}, "thinking: str instead of ThinkingFormat"),
        ({"search": {"front"}}, "search: str instead of SearchFormat"),
        ({"image_mode": "local"}, "image_mode: str instead of ImageMode"),
        ({"long_input": None}, "long_input: NoneType instead of LongInput"),
        ({"headers": {"x-statsig-id": "canary"}}, "headers: str instead of Secret"),
        ({"cookies": {"cf_clearance": "canary"}}, "cookies: str instead of Secret"),
    ],
)
def test_wrong_type(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(TypeError) as caught:
        Settings(**fields)
    assert str(caught.value) == told


def test_right_types() -> None:
    settings = Settings(search=frozenset({SearchFormat.FRONT}), headers={"x": Secret("canary")})
    assert "canary" not in repr(settings)

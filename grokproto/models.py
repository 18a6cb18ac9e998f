"""The models a client may name, and how Grok is asked for each. A model is one row.

[recorded] In 2025 the site chose a model by `modelName`, and features by `toolOverrides`,
`deepsearchPreset` and `isReasoning`; since spring 2026 it sends `modeId` instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from .errors import ConfigurationError, InvalidRequestError

SEARCH_TOOLS = ("webSearch", "xSearch", "xMediaSearch", "trendsSearch", "xPostAnalyze")
IMAGE_TOOLS = ("imageGen",)
TOOLS = (*IMAGE_TOOLS, *SEARCH_TOOLS)
"""Every key of `toolOverrides` that the body of 2025 has."""


class Model(msgspec.Struct, frozen=True):
    """One row: a name for clients, and what it means to Grok."""

    name: str
    group: str
    """The quota group that its calls count against."""

    grok_name: str | None = None
    """`modelName`, the selector of 2025. Exactly one of `grok_name` and `mode` is set."""

    mode: str | None = None
    """`modeId`, the selector of 2026."""

    tools: tuple[str, ...] = ()
    """Keys of `toolOverrides` that are on."""

    deepsearch: str | None = None
    """`deepsearchPreset`, such as `default`."""

    reasoning: bool = False
    """`isReasoning`."""

    last_turn_only: bool = False
    """Only the last message is sent, and it must be the user's."""

    rate_limit_kind: str = "DEFAULT"
    """`requestKind` when asking `rest/rate-limits`."""

    thinking: str | None = None
    """The model to ask in its place when a client wants it to think; itself where it does."""

    plain: str | None = None
    """The model to ask in its place when a client wants no thinking; itself where it does none."""


def _family(name: str, grok_name: str, thinking: str | None = None) -> Iterator[Model]:
    yield Model(name, name, grok_name, plain=name, thinking=thinking)
    search = f"{name}-search"
    yield Model(search, name, grok_name, tools=SEARCH_TOOLS, plain=search)
    yield Model(f"{name}-imageGen", name, grok_name, tools=IMAGE_TOOLS, last_turn_only=True)


BUILT_IN: tuple[Model, ...] = (
    *_family("grok-2", "grok-latest"),
    *_family("grok-3", "grok-3", "grok-3-reasoning"),
    Model(
        "grok-3-deepsearch",
        "grok-3-deepsearch",
        "grok-3",
        deepsearch="default",
        last_turn_only=True,
        rate_limit_kind="DEEPSEARCH",
        thinking="grok-3-deepsearch",
    ),
    Model(
        "grok-3-reasoning",
        "grok-3-reasoning",
        "grok-3",
        reasoning=True,
        rate_limit_kind="REASONING",
        thinking="grok-3-reasoning",
        plain="grok-3",
    ),
    Model("grok-auto", "auto", mode="auto", thinking="grok-expert", plain="grok-fast"),
    Model("grok-fast", "fast", mode="fast", thinking="grok-expert", plain="grok-fast"),
    Model("grok-expert", "expert", mode="expert", thinking="grok-expert", plain="grok-fast"),
    Model("grok-heavy", "heavy", mode="heavy", thinking="grok-heavy"),
)


class ModelTable(Mapping[str, Model]):
    """The models by the names that clients may use, aliases among them.

    Args:
        models: The rows; a later one takes the place of an earlier one of the same name.
        aliases: Further names, each for the name of a row.

    Raises:
        ConfigurationError: An alias names no row, or hides one; a row refers to none.
    """

    def __init__(
        self, models: Iterable[Model] = BUILT_IN, aliases: Mapping[str, str] | None = None
    ) -> None:
        self._models = {model.name: model for model in models}
        rows = dict(self._models)
        for alias, name in (aliases or {}).items():
            if alias in rows:
                raise ConfigurationError(f"alias {alias!r} is already the name of a model")
            if name not in rows:
                raise ConfigurationError(f"alias {alias!r} stands for {name!r}, which is no model")
            self._models[alias] = rows[name]
        for model in rows.values():
            for other in (model.thinking, model.plain):
                if other is not None and other not in rows:
                    raise ConfigurationError(
                        f"the model {model.name!r} refers to {other!r}, which is no model"
                    )

    def __getitem__(self, name: str) -> Model:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def find(self, name: str) -> Model:
        """The model that a client named.

        Raises:
            InvalidRequestError: There is none of this name (404, `model_not_found`).
        """
        try:
            return self._models[name]
        except KeyError:
            raise InvalidRequestError(
                f"The model {name[:100]!r} does not exist here; GET /v1/models lists what does.",
                param="model",
                code="model_not_found",
                status=404,
            ) from None

    def choose(self, model: Model, *, thinks: bool | None) -> Model | None:
        """The model to ask where a client wants thinking, or none; None where there is none."""
        if thinks is None:
            return model
        other = model.thinking if thinks else model.plain
        return None if other is None else self._models[other]


_ROW_TYPES: dict[str, type] = {
    "name": str,
    "group": str,
    "grok_name": str,
    "mode": str,
    "tools": list,
    "deepsearch": str,
    "reasoning": bool,
    "last_turn_only": bool,
    "rate_limit_kind": str,
    "thinking": str,
    "plain": str,
}


def _read_row(row: Any, where: str) -> Model:
    if not isinstance(row, dict):
        raise ConfigurationError(f"{where} is not a table")
    for key, value in row.items():
        if key not in _ROW_TYPES:
            raise ConfigurationError(
                f"{where} has the unknown key {key!r}; known are {', '.join(_ROW_TYPES)}"
            )
        if not isinstance(value, _ROW_TYPES[key]):
            raise ConfigurationError(f"{where}: {key} must be of type {_ROW_TYPES[key].__name__}")
    if not row.get("name"):
        raise ConfigurationError(f"{where} has no name")
    if bool(row.get("grok_name")) == bool(row.get("mode")):
        raise ConfigurationError(f"{where} must have exactly one of grok_name and mode")
    tools = row.get("tools", [])
    unknown = [tool for tool in tools if tool not in TOOLS]
    if unknown:
        raise ConfigurationError(
            f"{where} has the unknown tool {unknown[0]!r}; known are {', '.join(TOOLS)}"
        )
    return Model(**{"group": row["name"], **row, "tools": tuple(tools)})


def read_models(text: str, base: Iterable[Model] = BUILT_IN) -> ModelTable:
    """Read further models and aliases from the text of a TOML file.

        [[models]]
        name = "grok-4"
        mode = "expert"

        [aliases]
        "gpt-4o" = "grok-3"

    Args:
        text: The file.
        base: The rows to which these are added; a row of the same name takes its place.

    Raises:
        ConfigurationError: The text is no TOML, or says something that cannot be right.
    """
    import tomllib  # noqa: PLC0415  # it takes milliseconds to load, and few have such a file

    try:
        # Editors on Windows like to put a mark of the byte order in front, which is no TOML.
        document = tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(f"the models file is no TOML: {exc}") from exc
    rows = document.pop("models", [])
    aliases = document.pop("aliases", {})
    if document:
        raise ConfigurationError(
            f"the models file has the unknown key {next(iter(document))!r}; "
            "known are models and aliases"
        )
    if not isinstance(rows, list):
        raise ConfigurationError("models must be an array of tables: write [[models]]")
    if not isinstance(aliases, dict) or not all(isinstance(v, str) for v in aliases.values()):
        raise ConfigurationError("aliases must be a table of names: write [aliases]")
    added = [_read_row(row, f"models[{index}]") for index, row in enumerate(rows)]
    return ModelTable([*base, *added], aliases)

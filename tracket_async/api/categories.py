"""The categories of API 2.0, as its list of options has them."""

from __future__ import annotations

from typing import Final

from tracket_async.api.body import Json
from tracket_async.api.decode import checked, value
from tracket_async.api.faults import json_type, malformed
from tracket_async.api.layout import IDENTIFIER, TEXT, Kind, Misread
from tracket_async.api.request import Response
from tracket_async.models import Category

LIST_NAMES: Final = ("items", "options")
"""Where the list is; the second is inferred, and so is that it may stand there without an object around it."""
ID_NAMES: Final = ("id", "value", "optionId")
"""Where an option has its id (inferred)."""
NAME_NAMES: Final = ("name", "label", "title", "text")
"""Where it has its name (inferred)."""


def read_categories(response: Response) -> list[Category]:
    """The answer to the call for categories, in the server's order."""
    content = value(checked(response), "$", response)
    path = "$"
    if isinstance(content, dict):
        name = next((each for each in LIST_NAMES if each in content), LIST_NAMES[0])
        path, content = f"$.{name}", content.get(name)
    if not isinstance(content, list):
        raise malformed(path, "an array", json_type(content), status=response.status)
    return [_category(option, f"{path}[{index}]", response) for index, option in enumerate(content)]


def _category(option: Json, path: str, response: Response) -> Category:
    if not isinstance(option, dict):
        raise malformed(path, "an object", json_type(option), status=response.status)
    id_name, identifier = _member(option, ID_NAMES)
    name_name, name = _member(option, NAME_NAMES)
    return Category(
        id=_read(IDENTIFIER, identifier, f"{path}.{id_name}", response),
        name=None if name is None else _read(TEXT, name, f"{path}.{name_name}", response),
    )


def _member(option: dict[str, Json], names: tuple[str, ...]) -> tuple[str, Json]:
    return next(((name, option[name]) for name in names if name in option), (names[0], None))


def _read(kind: Kind, content: Json, path: str, response: Response) -> str:
    try:
        text: str = kind.read(content)
    except Misread as problem:
        expected = str(problem)
    else:
        return text
    raise malformed(path, expected, json_type(content), status=response.status)

"""One HTML file with the sums of worklogs, for a browser: it needs no network and no other file.

The page holds a `Cube` as JSON, and a script that adds its cells up for the filters that are chosen. No text of a
worklog or a name can become markup or script: in the file ``<`` is an escape of JSON, and the script makes nothing but
text nodes of it. The Content-Security-Policy allows this script and this style by their hashes and no request at all
(CSP Level 3, 6.1 and 6.6). The same worklogs give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from string import Template
from types import MappingProxyType
from typing import Final

import attrs

from tracket_async.report.source import Worklogs
from tracket_async.report.sums import STATUSES, Cube, Key, cube, prepare_cube

LARGEST: Final = 1_900_000
"""Bytes of the JSON at most."""
MOST_CELLS: Final = 120_000
LEVELS: Final = ((500, 240), (250, 240), (120, 240), (60, 240), (30, 240), (15, 120), (8, 60), (4, 36), (2, 24))
"""People, projects and categories that are kept apart, and months: the first level counts that is small enough."""

LONGEST_NAME: Final = 60
"""Characters of a name at most."""
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, those that turn text around, and halves of characters."""

NO_VALUE: Final[Mapping[str, str]] = {
    "month": "",
    "approval": "no approval",
    "person": "(nobody)",
    "project": "(no project)",
    "category": "(no category)",
}
OTHER_COLOURS: Final = 3


@attrs.frozen(kw_only=True)
class Names:
    """The names of ids. An id without a name stands for itself.

    Attributes:
        any: names of people, projects, categories and items by their id.
        categories: further names of categories.
    """

    any: Mapping[str, str] = MappingProxyType({})
    categories: Mapping[str, str] = MappingProxyType({})

    def of(self, key: str, *, category: bool = False) -> str:
        """Return the name of an id, or the id."""
        return self.any.get(key) or (self.categories.get(key) if category else None) or key


NO_NAMES: Final = Names()


def printable(text: str) -> str:
    """Return the text on one line, at most `LONGEST_NAME` characters, with U+FFFD for what no name should have."""
    text = _UNPRINTABLE.sub("\ufffd", re.sub(r"\s+", " ", text).strip())
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"


def page(worklogs: Worklogs, *, title: str, about: Sequence[str] = (), names: Names = NO_NAMES) -> bytes:
    """Return the page, in UTF-8.

    Args:
        worklogs: what it shows.
        title: its headline.
        about: what to say below the headline besides the number of worklogs and their dates.
        names: the names of ids.
    """
    [(first, last)] = worklogs.rows("SELECT min(day), max(day) FROM worklogs")
    parts = [f"{worklogs.number:,} worklogs" + (f", {first} to {last}" if worklogs.number else "")]
    if worklogs.tz is not None:
        parts.append(f"days in {worklogs.tz}")
    style, script = _asset("page.css"), _asset("page.js")
    content = Template(_asset("page.html")).substitute(
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; {_NOTHING_ELSE}",
        title=html.escape(printable(title)),
        about=html.escape(" · ".join([*parts, *map(printable, about)])),
        style=style,
        script=script,
        data=_data(worklogs, names),
    )
    return content.encode()


_NOTHING_ELSE: Final = "base-uri 'none'; form-action 'none'"


def _data(worklogs: Worklogs, names: Names) -> str:
    """Return the JSON of the finest cube that is small enough, else of the coarsest."""
    prepare_cube(worklogs)
    text = ""
    for most, months in LEVELS:
        found = cube(worklogs, most=most, months=months, cells=MOST_CELLS)
        if found is not None and len((text := _json(found, names)).encode()) <= LARGEST:
            break
    return text


def _json(found: Cube, names: Names) -> str:
    facets = {facet: [_name(facet, key, names) for key in keys] for facet, keys in found.facets.items()}
    for facet, number in found.folded.items():
        if number:
            facets[facet][0 if facet == "month" else -1] = "earlier" if facet == "month" else f"{number:,} others"
    others = (f"other{place % OTHER_COLOURS}" for place in range(len(facets["approval"])))
    cells = {name: list(column) for name, column in zip(_CELL, zip(*found.cells, strict=True), strict=False)}
    keys = cells.pop("keys", [])
    data = {
        "facets": facets,
        "colours": [key if key in STATUSES else next(others) for key in found.facets["approval"]],
        "folded": found.folded,
        "apart": {
            facet: [[_name(facet, key, names), count, *map(_number, sums)] for key, count, *sums in values]
            for facet, values in found.apart.items()
        },
        "keys": [key - before for before, key in zip([0, *keys], keys, strict=False)],
        **dict.fromkeys(_CELL[1:], ()),
        **{name: [_number(value) for value in column] for name, column in cells.items()},
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


_CELL: Final = ("keys", "worklogs", "minutes", "billable", "unsaid")


def _name(facet: str, key: Key, names: Names) -> str:
    if key is None:
        return NO_VALUE[facet]
    if facet in {"month", "approval"}:
        return printable(key)
    return printable(names.of(key, category=facet == "category"))


def _number(value: float) -> float:
    """Return the number with two decimals at most, and without those where it is whole."""
    rounded = round(value, 2)
    return int(rounded) if rounded == int(rounded) else rounded


def _asset(name: str) -> str:
    return resources.files("tracket_async.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

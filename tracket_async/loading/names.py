"""Which columns a file may have: our attribute names, or the names of API 1.0; each means one attribute. Pure.

A file that `tracket export` wrote has the first, data that was taken from API 1.0 itself the second. A name that is
neither is refused rather than left out: it is more likely to be a mistake in writing than something to do without.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from tracket_async.api import v1
from tracket_async.models import NewWorklog, Worklog

SETTABLE: Final = tuple(attribute.name for attribute in attrs.fields(NewWorklog))
"""What a caller says about a worklog."""

ATTRIBUTES: Final[Mapping[str, str]] = {
    **{wire: name for name, wire in v1.LAYOUT.names.items()},
    **{attribute.name: attribute.name for attribute in attrs.fields(Worklog)},
}
"""Each column's attribute."""


def attributes_of(columns: Iterable[str], *, only_id: bool = False) -> list[str | None]:
    """The attribute of each column.

    Args:
        columns: as the file names them.
        only_id: whether all columns but the id's are None, whatever they are.

    Raises:
        ValueError: a column is unknown, or two of them mean the same attribute.
    """
    names: list[str | None] = []
    found: dict[str, str] = {}
    for column in columns:
        name = ATTRIBUTES.get(column)
        if only_id and name != "id":
            names.append(None)
            continue
        if name is None:
            raise ValueError(f"there is no column {column!r}; the columns are {', '.join((*SETTABLE, 'id'))}")
        if name in found:
            raise ValueError(f"{name} is given twice: as {found[name]} and as {column}")
        found[name] = column
        names.append(name)
    return names

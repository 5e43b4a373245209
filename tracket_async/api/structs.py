"""The Structs that the fast path decodes to, derived from the attributes of `Worklog` and a layout.

There is no second definition of a worklog: types and defaults are those of the attributes, names those of the layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Final

import attrs
import msgspec

from tracket_async.api.layout import ATTRIBUTES, OBJECT, Layout, leaf

NO_FIELDS: Final[Mapping[str, Any]] = MappingProxyType({})
"""The custom fields of every row that has none."""

# Nothing is such a number, so a field of this type is one that no JSON can fill.
_NEVER: Final = Annotated[int, msgspec.Meta(gt=0, lt=0)]


def row_struct(layout: Layout, certain: frozenset[str]) -> type[msgspec.Struct]:
    """The Struct of a worklog, whose fields are the attributes of `Worklog` in their order.

    Args:
        layout: how it is written.
        certain: the objects in a worklog that have no other members than those that the layout's names say. What is in
            them is decoded, too; any other object stays as it is.
    """
    types: dict[str, Any] = {}
    names: dict[str, str] = {}
    for member, attributes in layout.groups.items():
        at = holder(layout, attributes)
        names[at] = member
        if len(attributes) == 1:
            types[at] = layout.kinds[at].wire_type
        elif member in certain:
            types[at] = _part_struct(layout, member, attributes)
        else:
            types[at] = Any if member in layout.splits else OBJECT.wire_type
    fields: list[Any] = []
    for name, attribute in ATTRIBUTES.items():
        if name not in types:
            names[name] = f"(no member: {name})"
            fields.append((name, _NEVER, NO_FIELDS if layout.kinds[name] is OBJECT else None))
        elif attribute.default is attrs.NOTHING:
            fields.append((name, types[name]))
        else:
            fields.append((name, types[name] | None, None))
    # Nothing that comes out of JSON can hold itself, so the garbage collector need not follow these.
    return msgspec.defstruct("WireRow", fields, rename=names, gc=False)


def holder(layout: Layout, attributes: Sequence[str]) -> str:
    """The attribute in whose field a member of a worklog is found: the one that is the object itself, if one is."""
    return next((name for name in attributes if not leaf(layout.names[name])), attributes[-1])


def _part_struct(layout: Layout, member: str, attributes: Sequence[str]) -> Any:
    """The Struct of an object inside a worklog: a field for each of these attributes, by its name, and nothing else."""
    inner = [name for name in attributes if leaf(layout.names[name])]
    kinds = [(name, layout.kinds[name].wire_type | None) for name in inner]
    # What is missing in an object that is split may be there under another name.
    fields: list[Any] = kinds if member in layout.splits else [(*each, None) for each in kinds]
    names = {name: leaf(layout.names[name]) for name in inner}
    return msgspec.defstruct("WirePart", fields, rename=names, forbid_unknown_fields=True, gc=False)


def page_struct(layout: Layout, worklog: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The Struct of a page; what the layout does not have is the same on every page."""
    types: dict[str, Any] = {
        "cursor": str | msgspec.UnsetType | None,
        "links": msgspec.Raw | msgspec.UnsetType,
        "total": int | None,
    }
    defaults: dict[str, Any] = {"cursor": msgspec.UNSET, "links": msgspec.UNSET, "total": None}
    names = {"items": layout.items, "cursor": layout.cursor, "links": layout.links, "total": layout.total}
    known = {field: name for field, name in names.items() if name}
    fields: list[Any] = [("items", list[worklog])]  # type: ignore[valid-type]
    fields += [(field, kind, defaults[field]) for field, kind in types.items() if field in known]
    missing = {field: default for field, default in defaults.items() if field not in known}
    return msgspec.defstruct("WirePage", fields, rename=known, namespace=missing)

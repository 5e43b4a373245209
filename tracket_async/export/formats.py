"""The formats of files: one table of their names, their endings and what they can; and how they are written.

The name of a file chooses its format, and whether it is compressed: text whose name ends in ``.gz`` is gzip.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import Final, Literal

import attrs

from tracket_async._api.endpoints import ApiVersion
from tracket_async.errors import UsageError
from tracket_async.export.text import columns_named, time_zone

Format = Literal["parquet", "csv", "ndjson", "duckdb", "xlsx"]
TargetFormat = Format | Literal["postgres"]
"""That of a file, or of a table of PostgreSQL, which is named by a URL."""
TextFormat = Literal["csv", "ndjson"]
Delimiter = Literal[",", ";", "\t"]

POSTGRES: Final = "postgres"
GZIP: Final = ".gz"


@attrs.frozen(kw_only=True)
class FileFormat:
    """One format.

    Attributes:
        endings: of names of such files, in lower case; the first is the usual one.
        text: the format of its text, which can be written while worklogs arrive and be compressed with gzip; None of a
            binary format, which needs all worklogs first.
    """

    endings: tuple[str, ...]
    text: TextFormat | None = None


FORMATS: Final[Mapping[Format, FileFormat]] = MappingProxyType(
    {
        "parquet": FileFormat(endings=(".parquet",)),
        "csv": FileFormat(endings=(".csv",), text="csv"),
        "ndjson": FileFormat(endings=(".ndjson", ".jsonl"), text="ndjson"),
        "duckdb": FileFormat(endings=(".duckdb",)),
        "xlsx": FileFormat(endings=(".xlsx",)),
    }
)
_FORMAT_OF: Final[Mapping[str, Format]] = {ending: name for name, each in FORMATS.items() for ending in each.endings}
ENDINGS: Final = (*_FORMAT_OF, *(ending + GZIP for ending, name in _FORMAT_OF.items() if FORMATS[name].text))
"""Every ending that chooses a format."""


def is_gzip(path: PurePath) -> bool:
    """Return whether a file of this name is compressed with gzip."""
    return path.suffix.lower() == GZIP


def format_of(path: PurePath) -> Format | None:
    """Return the format that the ending of a name chooses; None when it names none. It is the same behind ``.gz``."""
    return _FORMAT_OF.get((path.with_suffix("") if is_gzip(path) else path).suffix.lower())


def check_format(path: PurePath, format: str) -> None:
    """Check that there is such a format, and that a file of this name can have it.

    Raises:
        UsageError: there is none, or the name ends in ``.gz`` and the format is not text.
    """
    found = {str(name): each for name, each in FORMATS.items()}.get(format)
    if found is None:
        raise UsageError(f"there is no format {format!r}; the formats are {', '.join(FORMATS)}")
    if is_gzip(path) and found.text is None:
        raise UsageError(f"{path}: only CSV and NDJSON are compressed with gzip; leave out {GZIP} for {format}")


def _named(columns: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if columns is None else columns_named(columns)


def _valid_tz(_options: object, _attribute: object, tz: str | None) -> None:
    if tz is not None:
        time_zone(tz)


@attrs.frozen(kw_only=True)
class FileOptions:
    """The options with which files are written.

    Attributes:
        columns: ``day`` and attributes of `Worklog`, in the order in which they are wanted; None: all.
        raw: in CSV, do not escape text that begins like a formula.
        bom: begin CSV with a byte order mark, by which Excel knows that it is UTF-8.
        delimiter: between the cells of CSV: ``","``, ``";"`` or a tab.
        tz: the IANA name of the time zone whose day a moment of API 1.0 is; None: that of the store, at first UTC. API
            2.0 keeps days, which are of no time zone.

    Raises:
        UsageError: a column that does not exist, or is named twice; an unknown time zone.
        ValueError: another delimiter.
    """

    columns: tuple[str, ...] | None = attrs.field(default=None, converter=_named)
    raw: bool = False
    bom: bool = False
    delimiter: Delimiter = attrs.field(default=",", validator=attrs.validators.in_((",", ";", "\t")))
    tz: str | None = attrs.field(default=None, validator=_valid_tz)

    def zone_of(self, api_version: ApiVersion) -> dt.tzinfo:
        """Return the time zone in which a worklog of this version is on a day."""
        return dt.UTC if self.tz is None or api_version.keeps_days else time_zone(self.tz)

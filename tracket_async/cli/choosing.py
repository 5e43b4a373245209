"""Which file gets which format: the one that is said, or else the one that the ending of its name says.

A file whose ending says no format is refused, because what is in it would not be what its name promises.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from tracket_async.cli import target
from tracket_async.errors import UsageError

Format = Literal["ndjson", "csv", "parquet", "duckdb"]
Streamed = Literal["ndjson", "csv"]

Outputs = Annotated[
    list[str] | None,
    # "-" begins with a hyphen, too; what else does is refused in `files`.
    Parameter(alias="-o", metavar="FILE", negative=(), show_default=False, allow_leading_hyphen=True),
]
ChosenFormat = Annotated[Format | None, Parameter(show_default=False)]

ENDINGS: Final[dict[str, Format]] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".parquet": "parquet",
    ".duckdb": "duckdb",
    "": "ndjson",
}
STREAMED: Final[dict[Format, Streamed]] = {"ndjson": "ndjson", "csv": "csv"}
"""Formats that can be written while worklogs come; the others need all of them first."""


def to_standard_output(outputs: Sequence[str]) -> bool:
    """Whether that is where everything goes.

    Raises:
        UsageError: it is one of several places.
    """
    if target.STANDARD_OUTPUT not in outputs:
        return False
    if len(outputs) > 1:
        raise UsageError("Standard output (-) goes with no other --output")
    return True


def streamed(format: Format | None) -> Streamed:  # noqa: A002 - the word that people use
    """The format on standard output.

    Raises:
        UsageError: it cannot be streamed.
    """
    found = STREAMED.get(format or "ndjson")
    if found is None:
        raise UsageError(f"--format {format} needs a file. Give --output FILE")
    return found


def files(outputs: Iterable[str], format: Format | None) -> dict[Path, Format]:  # noqa: A002
    """Each file and its format, in the order in which they were given.

    Raises:
        UsageError: an ending says no format, a file is given twice, or a file cannot be there.
    """
    found: dict[Path, Format] = {}
    for name in outputs:
        if name.startswith("-"):
            raise UsageError(f"--output needs a file, and {name} is an option. A file of that name is ./{name}")
        path = Path(name)
        target.check(path)
        if path in found:
            raise UsageError(f"--output {path} is given twice")
        found[path] = format or _ending(path)
    return found


def _ending(path: Path) -> Format:
    found = ENDINGS.get(path.suffix.lower())
    if found is None:
        known = ", ".join(ending for ending in ENDINGS if ending)
        raise UsageError(f"The ending of {path} says no format. Give --format, or one of {known}")
    return found

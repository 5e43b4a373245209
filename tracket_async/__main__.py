"""The versions of what is installed, for a bug report: ``python -m tracket_async``.

It prints no path, no setting and no secret. What is required is read from the metadata of the installed distribution,
so a new extra appears here by itself.
"""

from __future__ import annotations

import os
import platform
import re
import ssl
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Final

from tracket_async._version import __version__

_DISTRIBUTION: Final = "tracket-async"
_WIDTH: Final = 24
"""Characters of the column of names; a longer name is followed by two spaces, too."""
_EXTRA: Final = re.compile(r"""(?:\s*\band\s+)?extra\s*==\s*["']([\w.-]+)["']""")


def lines() -> Iterator[str]:
    """Yield the report line by line: this package, Python, the platform, then each requirement, extra by extra."""
    yield _line(_DISTRIBUTION, __version__)
    yield _line("Python", f"{platform.python_version()} ({platform.python_implementation()})")
    yield _line("platform", platform.platform())
    yield _line("TLS", ssl.OPENSSL_VERSION)
    try:
        required = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield f"{_DISTRIBUTION} is imported from a folder and not installed, so its requirements are not known."
        return
    groups: dict[str, list[str]] = {}
    for requirement in required:
        extra, line = _requirement(requirement)
        groups.setdefault(extra, []).append(line)
    groups.pop("all", None)  # the sum of the others
    for extra, members in groups.items():
        yield ""
        yield f"extra {extra}" if extra else "always required"
        yield from members


def _requirement(text: str) -> tuple[str, str]:
    """Return the extra ("" for none) and the line of a requirement, which is written as in the metadata (PEP 508)."""
    name = re.split(r"[^\w.-]", text, maxsplit=1)[0]
    marker = text.partition(";")[2]
    extra = _EXTRA.search(marker)
    condition = _EXTRA.sub("", marker).strip(" ()")
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        version = f"not installed (wanted where {condition})" if condition else "not installed"
    return extra[1] if extra else "", _line(f"  {name}", version)


def _line(name: str, value: str) -> str:
    return f"{name:{_WIDTH}}  {value}"


def main() -> None:
    """Print the report on standard output."""
    text = "".join(f"{line}\n" for line in lines())
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:  # its reader went away, or the disk is full
        # The interpreter would try again at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(None if isinstance(error, BrokenPipeError) else f"tracket-async: {error.strerror}")


if __name__ == "__main__":
    main()

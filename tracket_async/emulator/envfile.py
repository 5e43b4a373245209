"""Settings as text for a shell and for a file that only its owner may read."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path


def shell_lines(settings: Mapping[str, str]) -> str:
    """One ``export NAME=value`` a line, quoted for a POSIX shell."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())


def write_env_file(path: Path, settings: Mapping[str, str]) -> None:
    """Write one ``NAME=value`` a line, readable by the owner alone.

    The file is written beside its place and renamed into it, so that a reader sees all of it or the old one, and
    so that its mode never was any other.

    Raises:
        OSError: It cannot be written, or `path` is a symbolic link, which is not followed.
    """
    if path.is_symlink():
        raise OSError(f"{path} is a symbolic link; give the path of the file itself")
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in settings.items())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise

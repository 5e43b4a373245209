"""Import the installed package with one extra alone: ``python tests/installed.py EXTRA``, run by ``nox -s package``.

Each module of the package is imported. One may miss nothing but what another extra brings, or pytest.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from importlib import metadata

import tracket_async


def check(extra: str) -> str:
    """Return one line about what was imported; raise what goes wrong."""
    mine, others = set(), {"pytest"}
    for requirement in metadata.requires("tracket-async"):
        name, marker = re.fullmatch(r"([\w.-]+)[^;]*(.*)", requirement).groups()
        if f"extra == '{extra}'" not in marker and "extra ==" in marker:
            others.add(name.replace("-", "_"))
        elif "and" not in marker or metadata.packages_distributions().get(name):  # not on every platform
            mine.add(metadata.distribution(name).name)
    brought = sorted(
        module
        for module, distributions in metadata.packages_distributions().items()
        if any(name in mine and name.lower().replace("-", "_").startswith(module) for name in distributions)
    )
    for module in brought:
        importlib.import_module(module)
    for name in tracket_async.__all__:
        getattr(tracket_async, name)
    imported = 0
    for module in pkgutil.walk_packages(tracket_async.__path__, "tracket_async."):
        try:
            importlib.import_module(module.name)
            imported += 1
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if not any(other.startswith(missing) for other in others):
                raise
    return f"extra {extra or 'none'}: {imported} modules of {tracket_async.__file__}, and {', '.join(brought)}\n"


if __name__ == "__main__":
    sys.stdout.write(check(sys.argv[1]))

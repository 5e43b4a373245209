"""The emulator is an island: it shares nothing with the client whose tests it serves."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import tracket_async.emulator

HERE = Path(tracket_async.emulator.__file__).parent
ALLOWED = {"aiohttp", "attrs", *sys.stdlib_module_names}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, path
            yield node.module


def test_it_imports_itself_the_standard_library_aiohttp_and_attrs():
    for path in HERE.rglob("*.py"):
        for name in imported(path):
            own = name == "tracket_async.emulator" or name.startswith("tracket_async.emulator.")
            assert own or name.partition(".")[0] in ALLOWED, f"{path.name} imports {name}"


def test_the_door_lets_out_what_it_names():
    assert sorted(tracket_async.emulator.__all__) == sorted(set(tracket_async.emulator.__all__))
    assert all(hasattr(tracket_async.emulator, name) for name in tracket_async.emulator.__all__)


def test_every_file_says_its_rule_and_is_one_room():
    for path in HERE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        first = ast.get_docstring(ast.parse(text)).splitlines()[0]
        assert first.endswith((".", ":")) or len(first) > 60, path.name
        assert text.count("\n") <= 700, path.name


def test_importing_it_does_not_load_what_only_the_client_needs():
    script = "import sys, tracket_async.emulator; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    ours = {name for name in loaded if name.startswith("tracket_async.") and ".emulator" not in name}
    if "tracket_async.models" not in ours:
        assert not {"cattrs", "msgspec", "tenacity"} & set(loaded)

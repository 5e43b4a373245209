"""Check tests/README.md: every test that it names exists, and every case of the table of faults is in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "tests" / "README.md"
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", DOCUMENT.read_text(encoding="utf-8"))


def tree(path):
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def test_every_test_that_is_named_exists():
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for path, name in NAMED:
        assert name in {node.name for node in ast.walk(tree(path)) if isinstance(node, functions)}, f"{path}::{name}"


def test_every_case_of_the_table_of_faults_is_in_the_document():
    table = next(
        node.value
        for node in tree("tests/reliability/test_faults.py").body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CASES"
    )
    cases = {key.value for key in table.keys}
    text = DOCUMENT.read_text(encoding="utf-8")
    assert {case for case in cases if f'"{case}"' not in text} == set()

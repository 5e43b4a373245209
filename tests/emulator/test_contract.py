"""What is served holds what the OpenAPI document promises, for whatever Schemathesis thinks of sending.

A small slice runs here; ``TRACKET_CONTRACT_EXAMPLES`` asks for more of it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from pathlib import Path

import pytest

EXAMPLES = os.environ.get("TRACKET_CONTRACT_EXAMPLES", "")
HOOKS = """
import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    # A cursor is opaque: no client makes one up, and one that is made up is rightly refused.
    if case.query and case.meta is not None and case.meta.generation.mode.is_positive:
        case.query = {name: value for name, value in case.query.items() if name not in ("after", "cursor")}
"""


@pytest.mark.skipif(importlib.util.find_spec("schemathesis") is None, reason="Schemathesis is not installed")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("settings", [{}, {"approval_shape": "string", "v1_order": "unsorted"}], ids=["usual", "other"])
async def test_every_answer_is_as_documented(serve, tmp_path, settings):
    if settings and not EXAMPLES:
        pytest.skip("the slice runs against the usual settings")
    emulator = await serve(sample=200, **settings)
    hooks = tmp_path / "contract_hooks.py"
    hooks.write_text(HOOKS)
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{emulator.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {emulator.token}", "--seed", "1", "--continue-on-failure"),
        *("--max-examples", EXAMPLES or "5", "--phases", "coverage,fuzzing,stateful" if EXAMPLES else "coverage"),
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": hooks.stem, "PYTHONPATH": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment, cwd=tmp_path
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert emulator.request_log.count(status=500) == 0
    assert len(emulator.request_log) > 100

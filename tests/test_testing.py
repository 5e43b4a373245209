"""The pytest plugin, as a user's own tests meet it: in a pytest of their own, which finds it installed."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import textwrap

import pytest

from tracket_async import NewWorklog
from tracket_async import testing as plugin

QUIET = (
    "import sys; import tracket_async.testing; print(sorted({'aiohttp', 'tracket_async.emulator'} & set(sys.modules)))"
)
STRICT = "asyncio_mode = strict\nasyncio_default_fixture_loop_scope = function"


def pytest_in(folder, source, *arguments, ini=STRICT, **environ):
    """Runs a file of tests in a process of its own, and returns it when it is done."""
    (folder / "test_user.py").write_text(textwrap.dedent(source), encoding="utf-8")
    (folder / "pytest.ini").write_text(f"[pytest]\n{ini}\nfilterwarnings = error\n", encoding="utf-8")
    slow = ("-p", "no:schemathesis", "-p", "no:hypothesispytest")  # plugins that take seconds to import
    command = [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider", *slow, *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= environ
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=100, check=False, env=environment
    )


async def test_the_client_talks_to_the_emulator_of_the_same_test(tracket_client, tracket_emulator):
    new = NewWorklog(item_id="1", user_id="2", date=dt.date(2024, 5, 6), minutes=30)
    created = await tracket_client.worklogs.create(new)
    assert tracket_emulator.get(created.id)["worklogMinutes"] == 30
    assert tracket_client.api == "2.0"


async def test_every_test_has_an_emulator_of_its_own(tracket_emulator):
    assert tracket_emulator.count == 0


@pytest.mark.tracket(api="1.0", sample=120, page_size=50)
async def test_the_mark_chooses_the_version_and_the_emulators_settings(tracket_client, tracket_emulator):
    assert (tracket_client.api, tracket_emulator.count) == ("1.0", 120)
    assert len((await tracket_client.worklogs.list()).items) == 50


@pytest.mark.tracket(sample=10, page_size=3)
class TestMarks:
    @pytest.mark.tracket(sample=20)
    async def test_of_two_marks_the_closer_one_wins_name_by_name(self, tracket_emulator):
        assert (tracket_emulator.count, tracket_emulator.settings.page_size) == (20, 3)


def test_a_mark_that_cannot_be_used_is_told_without_its_values(tmp_path):
    wrong = {
        'api="s3cret"': "api must be '1.0' or '2.0'",
        'sample="s3cret"': "sample must be a number of worklogs, or a Sample",
        'nonsense="s3cret"': "got an unexpected keyword argument 'nonsense'",
        'token="s3 cret"': "token must be printable ASCII without spaces and quotes",
        'page_size="s3cret"': "page_size must be a number, not of the type str",
        "page_size=0": "page_size must lie between 1 and 100000, not be 0",
        'port="s3cret"': "port must be a number",
        '"s3cret"': "takes settings by their names",
    }
    tests = [
        f"@pytest.mark.tracket({mark})\nasync def test_{n}(tracket_client): pass\n" for n, mark in enumerate(wrong)
    ]
    ini = STRICT.replace("= strict", "= auto")
    done = pytest_in(tmp_path, "import pytest\n" + "\n".join(tests), "--tb=line", ini=ini)
    assert "8 errors" in done.stdout, done.stdout + done.stderr
    for words in wrong.values():
        assert words in done.stdout
    assert "s3cret" not in done.stdout
    assert "s3 cret" not in done.stdout


def test_it_works_in_the_strict_mode_of_pytest_asyncio(tmp_path):
    done = pytest_in(
        tmp_path,
        """
        import pytest

        @pytest.mark.asyncio
        @pytest.mark.tracket(sample=30)
        async def test_of_a_user(tracket_client):
            assert len([w async for w in tracket_client.worklogs.export()]) == 30

        def test_that_needs_nothing():
            pass
        """,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_without_pytest_asyncio_other_tests_run_and_those_that_ask_are_told(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'pytest_asyncio' else find(name, *rest)\n",
        encoding="utf-8",
    )
    source = """
        def test_that_needs_nothing():
            pass

        def test_that_asks(tracket_client):
            pass
        """
    done = pytest_in(tmp_path, source, "-p", "no:asyncio", ini="", PYTHONPATH=str(tmp_path))
    assert "1 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "needs pytest-asyncio: pip install pytest-asyncio" in done.stdout


def test_a_pytest_that_merely_finds_the_plugin_imports_neither_aiohttp_nor_the_emulator():
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_fixtures_are_described(pytestconfig):
    assert plugin.__doc__
    for fixture in (plugin.tracket_emulator, plugin.tracket_client):
        assert fixture.__doc__

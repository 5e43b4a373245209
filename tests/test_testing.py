"""The pytest plugin, as a user's own tests meet it: in a pytest of their own, which finds it installed."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import aiohttp
import pytest
from aioresponses import core as aioresponses_core

from tracket_async import BearerToken, NetworkError, NewWorklog, RetryPolicy, TracketClient
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
    for name in ("emulator", "client", "server", "responses"):
        fixture = getattr(plugin, f"tracket_{name}")
        assert fixture.__doc__


# -- a server in a thread ------------------------------------------------------------------------------------------


@pytest.mark.tracket(sample=30)
def test_a_test_that_is_not_async_talks_to_a_server_in_a_thread(tracket_server):
    async def count():
        async with TracketClient.from_env(tracket_server.env) as client:
            return len([worklog async for worklog in client.worklogs.list()])

    assert asyncio.run(count()) == 30
    assert tracket_server.call(lambda emulator: emulator.count) == 30
    assert repr(tracket_server) == f"<ServerThread {tracket_server.base_url}>"


@pytest.mark.tracket(api="1.0")
def test_a_subprocess_finds_the_server_by_its_variables(tracket_server):
    code = """
        import datetime, sys, urllib.request
        from os import environ
        asked = urllib.request.Request(environ["TRACKET_BASE_URL"] + "/api/1.0/worklogs")
        asked.add_header("Authorization", "Bearer " + environ["TRACKET_TOKEN"])
        print(urllib.request.urlopen(asked).status)
        """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    environment = {**os.environ, **tracket_server.env}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "200"
    assert tracket_server.env["TRACKET_TOKEN"] == tracket_server.token
    assert tracket_server.call(lambda emulator: len(emulator.request_log)) == 1


def test_what_a_call_raises_in_the_servers_thread_is_raised_to_the_test(tracket_server):
    with pytest.raises(LookupError):
        tracket_server.call(lambda emulator: emulator.delete("none"))


def test_the_thread_ends_when_the_server_cannot_start(tmp_path):
    source = f"""
        import threading
        import pytest

        @pytest.mark.tracket(seed={str(tmp_path / "missing.ndjson")!r})
        def test_that_cannot_start(tracket_server): pass

        def test_after_it():
            assert [t.name for t in threading.enumerate() if t.name == "tracket_server"] == []
        """
    done = pytest_in(tmp_path, source)
    assert "1 passed, 1 error" in done.stdout, done.stdout + done.stderr


# -- mocked responses ----------------------------------------------------------------------------------------------


async def test_a_response_is_mocked_for_any_session_of_aiohttp(tracket_responses):
    tracket_responses.get("https://elsewhere.example/", payload={"a": 1}, headers={"X": "y"})
    async with aiohttp.ClientSession() as session, session.get("https://elsewhere.example/") as response:
        assert (await response.json(), response.headers["X"]) == ({"a": 1}, "y")


async def test_what_was_not_mocked_is_an_error_of_the_network(tracket_responses):
    async with TracketClient(auth=None, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(NetworkError):
            await client.worklogs.get("wl-1")


async def test_an_aioresponses_that_gives_a_stream_writer_is_left_to_do_so(tracket_responses, monkeypatch):
    made = []
    monkeypatch.setattr(aiohttp.ClientResponse, "__init__", lambda *_, **settings: made.append(settings))
    aioresponses_core.ClientResponse("GET", "https://elsewhere.example/", stream_writer="its own")
    aioresponses_core.ClientResponse("GET", "https://elsewhere.example/")
    monkeypatch.undo()
    assert made[0] == {"stream_writer": "its own"}
    assert made[1]["stream_writer"].output_size == 0


def test_without_aioresponses_a_test_that_asks_is_told(tmp_path):
    (tmp_path / "conftest.py").write_text("import sys\nsys.modules['aioresponses'] = None\n", encoding="utf-8")
    done = pytest_in(tmp_path, "def test_that_asks(tracket_responses): pass\n")
    assert "needs aioresponses: pip install aioresponses" in done.stdout, done.stdout + done.stderr


# -- the code of docs/pages/how-to/testing.md ----------------------------------------------------------------------

DOCUMENT = (Path(__file__).parents[1] / "docs" / "pages" / "how-to" / "testing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
NIGHTLY = """
import asyncio
from tracket_async import TracketClient

async def main():
    async with TracketClient.from_env() as client:
        await client.worklogs.delete_many([worklog.id async for worklog in client.worklogs.list()]).drain()

asyncio.run(main())
"""


@pytest.mark.tracket(sample=20)
def test_the_code_of_the_docs_for_a_subprocess_runs(tracket_server, tmp_path, monkeypatch):
    (tmp_path / "nightly.py").write_text(NIGHTLY, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    namespace = {"pytest": pytest, "subprocess": subprocess, "sys": sys, "os": os}
    exec(BLOCKS[0], namespace)
    namespace["test_the_nightly_script_deletes_everything"](tracket_server)


async def test_the_code_of_the_docs_for_mocked_responses_runs(tracket_responses):
    namespace = {"TracketClient": TracketClient, "BearerToken": BearerToken}
    exec(BLOCKS[1], namespace)
    await namespace["test_minutes_are_summed_up"](tracket_responses)

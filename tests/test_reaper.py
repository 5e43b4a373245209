"""The end of a PostgreSQL server whose tests were killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fcntl", reason="signals of POSIX")

KILLED = """
import os, signal, sys
from pathlib import Path
from reaper import stopped_with_this_process
with stopped_with_this_process(Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "postgres" / "data"
    folder.mkdir(parents=True)
    return folder


def test_a_server_ends_when_what_started_it_is_killed(data):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as server:
        (data / "postmaster.pid").write_text(f"{server.pid}\n{data}\n")
        environ = os.environ | {"PYTHONPATH": os.fspath(Path(__file__).parent)}
        killed = subprocess.run([sys.executable, "-c", KILLED, data], env=environ, check=False)
        assert killed.returncode == -signal.SIGKILL
        assert server.wait(60) == -signal.SIGQUIT


def test_nothing_is_stopped_where_the_server_has_ended(data):
    command = [sys.executable, str(Path(__file__).parent / "reaper.py"), data]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0
    assert data.exists()

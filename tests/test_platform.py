"""The two platforms: POSIX as it is here, and Windows over a fake of what its documentation says."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import os
import signal
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tracket_async import _files, _platform
from tracket_async._files import DurableAppender, FileLock, LockOwner, atomic_write
from tracket_async._platform import Posix, Windows, this_platform
from tracket_async.emulator import Emulator
from tracket_async.errors import StorageError, TargetBusyError


@pytest.fixture
def fake_windows():
    """The module of that name (with --import-mode=importlib, no test imports another file by its name)."""
    specification = importlib.util.spec_from_file_location("fake_windows", Path(__file__).with_name("fake_windows.py"))
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def msvcrt(fake_windows):
    return fake_windows.Msvcrt()


@pytest.fixture
def sharing(monkeypatch, fake_windows, msvcrt):
    monkeypatch.setattr(_files, "PLATFORM", Windows(msvcrt))
    return fake_windows.Sharing(monkeypatch.setattr)


def test_the_platform_is_the_one_whose_locks_there_are(monkeypatch, msvcrt):
    assert isinstance(this_platform(), Posix)

    def import_module(name):
        if name == "fcntl":
            raise ModuleNotFoundError
        return msvcrt

    monkeypatch.setattr(importlib, "import_module", import_module)
    assert isinstance(this_platform(), Windows)


@pytest.mark.parametrize("platform", ["posix", "windows"])
def test_a_file_is_locked_by_one_descriptor_until_it_gives_the_lock_up(tmp_path, platform, msvcrt):
    system = this_platform() if platform == "posix" else Windows(msvcrt)
    first, second = (os.open(tmp_path / "x", _platform.FLAGS) for _ in range(2))
    assert [system.lock(first), system.lock(second)] == [True, False]
    system.make_private(first, 0o600)
    system.unlock(first)
    os.close(first)
    assert system.lock(second)
    assert os.lseek(second, 0, os.SEEK_CUR) == 0
    os.close(second)


def test_a_lock_that_windows_refuses_is_an_error(tmp_path, msvcrt, sharing):
    msvcrt.error = OSError(errno.ENOLCK, "No locks available")
    with pytest.raises(StorageError, match="No locks available"), atomic_write(tmp_path / "out"):
        raise AssertionError


def test_termination_comes_to_the_handler_on_both(monkeypatch, msvcrt):
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: received.append(number))
    try:
        this_platform().terminate_this_process()
        Windows(msvcrt).terminate_this_process()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM] * 2


@pytest.mark.usefixtures("sharing")
def test_on_windows_a_file_takes_the_place_of_the_old_one(tmp_path, msvcrt):
    target = tmp_path / "out"
    target.write_text("old")
    with atomic_write(target) as file:
        file.write(b"new")
        with pytest.raises(TargetBusyError, match="another process is writing"), atomic_write(target):
            raise AssertionError
    assert target.read_bytes() == b"new"
    with pytest.raises(RuntimeError), atomic_write(target):
        raise RuntimeError
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]
    assert msvcrt.locked == {}


def test_on_windows_a_file_that_a_spreadsheet_has_open_is_left_and_the_new_one_kept(tmp_path, sharing):
    target = tmp_path / "report.csv"
    target.write_text("old")
    sharing.others.add(target)
    with (
        pytest.raises(StorageError, match=r"What was written is kept in .*report\.kept\.csv"),
        atomic_write(target) as file,
    ):
        file.write(b"new")
    assert target.read_text() == "old"
    assert (tmp_path / "report.kept.csv").read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.usefixtures("sharing")
def test_on_windows_the_second_is_told_who_the_first_is(tmp_path, msvcrt):
    path = tmp_path / "s.duckdb"
    for _ in range(2):
        with closing(FileLock(path)), pytest.raises(TargetBusyError, match=f"by process {os.getpid()} on"):
            FileLock(path)
    assert list(tmp_path.iterdir()) == []
    assert msvcrt.locked == {}


def test_on_windows_a_lock_file_that_the_next_one_has_opened_is_its_own(tmp_path, sharing):
    lock = FileLock(tmp_path / "s.duckdb")
    sharing.others.add(lock.path)
    lock.close()
    assert LockOwner.read(lock.path) is not None


@pytest.mark.usefixtures("sharing")
async def test_on_windows_a_journal_grows_at_its_end(tmp_path):
    path = tmp_path / "journal"
    path.write_bytes(b"one\n")
    file = DurableAppender(path, os.open(path, _platform.FLAGS), 4)
    file.append(b"two\n")
    await file.close()
    assert path.read_bytes() == b"one\ntwo\n"


AS_ON_WINDOWS = """
import asyncio, importlib, os, pkgutil, signal, subprocess, sys, tempfile
import aiohttp, cyclopts, duckdb, pyarrow, rich.console

from fake_windows import Msvcrt, Sharing

for module, names in (
    (os, "fchmod fchown pread pwrite statvfs fork forkpty getuid geteuid getpgid getpgrp killpg mkfifo setsid uname"),
    (os, "O_NOFOLLOW O_CLOEXEC ttyname openpty posix_spawn sysconf wait3 wait4 chroot nice"),
    (signal, "SIGKILL SIGHUP SIGALRM SIGPIPE SIGUSR1 SIGUSR2 SIGCHLD SIGQUIT SIGSTOP setitimer alarm pause sigwait"),
):
    for name in names.split():
        delattr(module, name)
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty", "uvloop"):
    sys.modules[name] = None
sys.modules["msvcrt"] = Msvcrt()
Sharing()

class Loop(asyncio.SelectorEventLoop):
    def refuse(self, *_arguments):
        raise NotImplementedError

    add_signal_handler = remove_signal_handler = refuse

import tracket_async
for module in pkgutil.walk_packages(tracket_async.__path__, "tracket_async."):
    # What others wrote for POSIX is not to be looked for here: pytest, Dask, dlt, the MCP SDK.
    others = module.name.startswith(("tracket_async.testing", "tracket_async.integrations."))
    if not others and not module.name.endswith("__main__"):
        importlib.import_module(module.name)

from tracket_async._platform import PLATFORM, Windows
from tracket_async.cli import entry
assert isinstance(PLATFORM, Windows)
entry.loop_factory = lambda: Loop
for arguments in {commands!r}:
    code = entry.main(arguments)
    assert code == 0, code
"""


async def test_every_module_and_the_main_commands_work_without_what_posix_alone_has(tmp_path):
    async with Emulator(sample=120) as emulator:
        (tmp_path / "new.csv").write_text("item_id,user_id,date,minutes\n1,2,2026-03-02,30\n")
        outputs = [f"--output={tmp_path / name}" for name in ("a.csv", "a.parquet", "a.duckdb", "a.ndjson")]
        commands = [
            ["export", f"--store={tmp_path / 's.duckdb'}", *outputs],
            ["import", str(tmp_path / "new.csv")],
            ["sync", str(tmp_path / "s.duckdb")],
            ["export", "--output", "-"],
            ["list", "--limit", "3"],
        ]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            AS_ON_WINDOWS.replace("{commands!r}", repr(commands)),
            env=os.environ
            | emulator.env()
            | {"PYTHONPATH": os.pathsep.join([os.fspath(Path(__file__).parent), *sys.path])},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert b"121 worklogs" in err
    assert out.count(b'{"id":') == 121
    assert (tmp_path / "a.ndjson").read_bytes().count(b"\n") == 120

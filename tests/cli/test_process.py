"""``tracket`` as a process of its own: signals, pipes and terminals."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import termios
import time

import pytest

from tracket_async.emulator.faults import Delay, Hang, Status

TRACKET = (sys.executable, "-m", "tracket_async.cli")
LIMIT = 60


@contextlib.contextmanager
def started(*arguments, **settings):
    """A process, killed if it has not ended by the end of the ``with``."""
    process = subprocess.Popen(
        [*TRACKET, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, **settings
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def slow(serve):
    """A server with 2,000 worklogs that takes a quarter of a second for each request."""
    return serve(sample=2000, latency=0.25)


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [(signal.SIGINT, 130, "tracket: interrupted\n"), (signal.SIGTERM, 143, "tracket: terminated\n")],
)
@pytest.mark.parametrize("debug", [(), ("--debug",)])
@pytest.mark.usefixtures("slow")
def test_an_interrupted_export_says_so_and_how_to_go_on(tmp_path, number, code, line, debug):
    path = tmp_path / "it's out.ndjson"
    arguments = ("export", "-o", str(path), "--concurrency=1", "--progress=json", *debug)
    with started(*arguments) as process:
        for _ in debug:
            process.stderr.readline()  # how it connects
        while not json.loads(process.stderr.readline())["done"]:  # it has fetched something
            pass
        process.send_signal(number)
        out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == code
    assert out == b""
    *_, said, how = err.decode().splitlines(keepends=True)
    assert said == line
    kept, _, command = how.partition(". To resume: ")
    assert kept == f"What was fetched is kept in {path}.resume"
    assert shlex.split(command) == [*TRACKET, *arguments]  # as it was started
    assert [one.name for one in tmp_path.iterdir()] == [f"{path.name}.resume"]


@pytest.mark.parametrize(
    ("api", "number"),
    [("2.0", signal.SIGINT), ("2.0", signal.SIGTERM), ("2.0", signal.SIGKILL), ("1.0", signal.SIGINT)],
)
def test_an_export_that_was_ended_goes_on_and_makes_the_same_files(serve, tmp_path, api, number):
    served = serve(api, sample=700)
    folders = [tmp_path / "whole", tmp_path / "ended"]
    for folder in folders:
        folder.mkdir()
    made = [[argument for name in NAMES for argument in ("-o", str(folder / name))] for folder in folders]
    with started("export", *made[0]) as process:
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    route = "/worklogs" if api == "1.0" else "/timeEntries"
    asked = [request.query for request in served.emulator.request_log if request.route == route]
    before = next(n for n, query in enumerate(asked) if query.get("size") in {None, "100"})  # the first page
    delayed = range(before + 1, before + 6)
    served.emulator.faults.add(Delay(0.12), route=route, nth=delayed)  # longer than between two reports
    served.emulator.faults.add(Hang(), route=route, nth=before + 6)
    command = ("export", *made[1], "--concurrency=1", "--progress=json")
    with started(*command) as process:
        while not json.loads(process.stderr.readline())["done"]:
            pass
        process.send_signal(number)
        process.communicate(timeout=LIMIT)
    assert process.returncode not in {0, 1}
    assert not {path.name for path in folders[1].iterdir()} & set(NAMES)
    with started(*command) as process:
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    if number != signal.SIGKILL:  # it had no time to keep what had come since it last did
        assert b" of them by an earlier run; " in err
    assert {path.name for path in folders[1].iterdir()} == set(NAMES)
    for name in NAMES:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


NAMES = ("out.ndjson", "out.csv", "out.parquet")


def test_rows_that_wait_out_a_429_are_not_sent_when_an_import_is_interrupted(serve, seed, tmp_path):
    served, file = serve(), tmp_path / "in.ndjson"
    file.write_text("".join(json.dumps(seed(number)) + "\n" for number in range(40)), encoding="utf-8")
    journal = tmp_path / "in.ndjson.tracket-journal"
    served.emulator.faults.add(Status(429, retry_after="60"), method="POST", route="/timeEntries")
    with started("import", str(file), "--concurrency=16") as process:
        while not journal.exists() or journal.read_text(encoding="utf-8").count('"sent_at"') < 16:
            assert process.poll() is None
            time.sleep(0.01)
        while not served.ask(served.emulator.request_log.count, method="POST", status=429):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    *_, said, how, line = err.decode().splitlines()
    assert ": 40 not sent in " in said  # after the 5 seconds that answers on their way are given
    assert (how.startswith("To continue: "), line) == (True, "tracket: interrupted")
    assert "ambiguous" not in journal.read_text(encoding="utf-8")
    served.ask(served.emulator.faults.clear)
    with started("import", str(file)) as process:
        _, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, served.count) == (0, 40), err


@pytest.mark.usefixtures("slow")
def test_a_second_export_to_the_same_file_ends_at_once_and_says_who_is_at_it(tmp_path):
    command = ("export", "-o", str(tmp_path / "out.csv"), "--concurrency=1", "--progress=json")
    with started(*command) as first:
        first.stderr.readline()
        with started(*command) as second:
            _, err = second.communicate(timeout=LIMIT)
        assert second.returncode == 1
        assert f"is being written by process {first.pid} on ".encode() in err
        assert err.count(b"\n") == 1  # and no word of how to go on: it would meet the same
        assert first.poll() is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells who is whose child")
def test_the_emulator_of_a_demo_that_is_killed_ends_by_itself(tmp_path):
    with started("demo", "--worklogs=20000", "--concurrency=1", "--folder", str(tmp_path)) as process:
        process.stderr.readline()
        assert b"It listens on" in process.stderr.readline()
        (emulator,) = children(process.pid)
        watched = os.pidfd_open(emulator)
        process.kill()
        ended, _, _ = select.select([watched], [], [], LIMIT)
        os.close(watched)
    assert ended


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123
        return [int(one) for one in file.read().split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells who is whose child")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_ends_its_emulator_and_leaves_no_half_file(tmp_path, number, code):
    with started("demo", "--worklogs=20000", "--concurrency=1", "--folder", str(tmp_path)) as process:
        process.stderr.readline()
        assert b"It listens on" in process.stderr.readline()
        (emulator,) = children(process.pid)
        assert os.getsid(emulator) == emulator  # or Ctrl-C would reach it before us
        process.send_signal(number)
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == code
    assert err.count(b"\n") == 1
    with pytest.raises(ProcessLookupError):
        os.kill(emulator, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("export",), ("list", "--limit=0", "--json"), ("list", "--limit=0")])
def test_a_reader_that_goes_away_ends_it_quietly(serve, arguments):
    serve(sample=3000)
    with started(*arguments) as process:
        process.stdout.readline()
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, err) == (141, b"")


@pytest.mark.parametrize("arguments", [("export",), ("list", "--limit=0", "--json"), ("list", "--limit=0")])
def test_a_reader_that_stalls_does_not_keep_it_from_ending(serve, arguments):
    serve(sample=3000)
    with started(*arguments, pipesize=4096) as process:
        while bytes_in(process.stdout) < 4096:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        assert process.wait(LIMIT) == 143
        assert time.monotonic() - begun < 10  # about 1 s, on a machine with nothing else to do
        assert process.stderr.read() == b"tracket: terminated\n"


def bytes_in(pipe):
    """Return how many bytes wait to be read."""
    waiting = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, waiting)
    return waiting[0]


# Closes descriptors and becomes the command.
WITHOUT = "import os, sys; [os.close(int(one)) for one in sys.argv[1]]; os.execv(sys.argv[2], sys.argv[2:])"


@pytest.mark.parametrize(
    ("closed", "arguments", "code"),
    [
        ("0", ("list",), 0),
        ("1", ("list",), 0),
        ("2", ("list",), 0),
        ("012", ("export", "--output=out.csv"), 0),
        ("1", ("export", "-o", "-"), 2),
    ],
)
def test_a_stream_that_is_closed_is_the_null_device(serve, tmp_path, closed, arguments, code):
    serve(sample=30)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, closed, *TRACKET, *arguments],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert (b"Standard output is closed" in done.stderr) is (code == 2)
    for written in tmp_path.iterdir():  # and nothing but worklogs is in it
        assert written.read_bytes().startswith(b"id,day,user_id,")


@pytest.mark.parametrize(
    "surroundings",
    [{"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {}],
)
def test_it_needs_neither_a_home_nor_a_locale(serve, tmp_path, surroundings):
    serve(sample=30)
    kept = {name: value for name, value in os.environ.items() if name.startswith(("TRACKET_", "PYTHONPATH"))}
    names = [f"--output={tmp_path / name}" for name in ("é.csv", "é.parquet", "é.duckdb")]
    done = subprocess.run(
        [*TRACKET, "export", *names], capture_output=True, timeout=LIMIT, check=False, env=kept | surroundings
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("name", ["x" * 245, "a\x1b[31m\n", "r\udce9sum\udce9"])
def test_any_name_that_the_system_allows_is_one_for_an_output(serve, tmp_path, name):
    serve(sample=30)
    targets = [tmp_path / f"{name}{ending}" for ending in (".csv", ".parquet", ".duckdb")]
    done = subprocess.run(
        [*TRACKET, "export", *(f"--output={os.fspath(target)}" for target in targets)],
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(tmp_path.iterdir()) == sorted(targets)
    assert b"\x1b" not in done.stdout + done.stderr


def test_what_the_caller_ignores_stays_ignored(serve):
    served = serve(sample=2000, latency=0.25)
    with started("export", "-o", "-", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) as process:
        assert os.read(process.stdout.fileno(), 1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out.count(b"\n")) == (0, 2000), err
    assert served.count == 2000


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")  # noqa: PTH110
@pytest.mark.parametrize("arguments", [("export",), ("list",), ("categories", "--json"), ("--version",)])
def test_standard_output_on_a_full_disk_is_one_line(serve, arguments):
    serve(sample=300)
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run(  # noqa: PLW1510
            [*TRACKET, *arguments], stdout=full, stderr=subprocess.PIPE, timeout=LIMIT
        )
    assert (done.returncode, done.stderr) == (1, b"tracket: No space left on device\n")


def test_a_reader_of_a_pipe_gets_everything(serve):
    serve(sample=3000)
    with started("export") as process:
        out, _ = process.communicate(timeout=LIMIT)
    assert (process.returncode, out.count(b"\n")) == (0, 3000)


# Makes its standard input the terminal that Ctrl-C comes from, and becomes the command.
OWN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.fixture
def at_a_terminal():
    """Runs a command whose three streams are a terminal; gives its exit code and what the terminal shows."""

    def run(*arguments, typed=()):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-c", OWN_TERMINAL, *TRACKET, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        shown, answers = b"", list(typed)
        with contextlib.suppress(OSError):  # which is how the end of a terminal is told on Linux
            while select.select([ours], [], [], LIMIT)[0] and (piece := os.read(ours, 65536)):
                shown += piece
                if answers and shown.rstrip().endswith(b"[y/N]"):
                    os.write(ours, answers.pop(0))
        os.close(ours)
        try:
            return process.wait(LIMIT), shown.decode()
        finally:
            process.kill()  # nothing, to a process that has ended

    return run


def test_at_a_terminal_an_export_has_a_bar_and_a_list_is_a_table(serve, at_a_terminal, tmp_path):
    serve(sample=300)
    code, shown = at_a_terminal("export", "-o", str(tmp_path / "out.csv"))
    assert code == 0
    assert "300 of 300 worklogs" in shown
    code, shown = at_a_terminal("list", "--limit=3")
    assert code == 0
    assert "\x1b[" in shown
    assert "There are more than these 3" in shown


@pytest.mark.parametrize(
    ("typed", "code", "left", "said"),
    [
        (b"y\n", 0, 0, "Deleted worklog wl-001: The"),
        (b"n\n", 1, 1, "Kept worklog"),
        (b"\x03", 130, 1, "tracket: interrupted"),
    ],
)
def test_at_a_terminal_delete_asks_and_ctrl_c_is_an_answer_too(serve, at_a_terminal, seed, typed, code, left, said):
    served = serve(seed=[seed(1)])
    found, shown = at_a_terminal("delete", "wl-001", typed=[typed])
    assert (found, served.count) == (code, left)
    assert said in shown
    assert "Traceback" not in shown

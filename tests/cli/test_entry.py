"""The entry point: from arguments to an exit code, on an event loop that an interruption ends cleanly."""

from __future__ import annotations

import asyncio
import builtins
import errno
import gc
import importlib
import importlib.metadata
import io
import os
import signal
import subprocess
import sys
import threading
import types
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from tracket_async import errors
from tracket_async.cli import entry, exits, output
from tracket_async.cli.app import COMMANDS, NAMES
from tracket_async.cli.entry import loop_factory, run
from tracket_async.cli.exits import Terminated
from tracket_async.client import TracketClient

VERSION = importlib.metadata.version("tracket-async")


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_the_help_names_every_command_and_the_exit_codes(tracket, arguments):
    result = tracket(*arguments)
    assert result.code == 0
    assert result.err == ""
    assert "\x1b" not in result.out
    for name in (*(name for name, _ in COMMANDS), "emulator"):
        assert f"│ {name} " in result.out
    documented = result.out[result.out.index("Exit codes:") :]
    for code in exits.ExitCode:
        assert f"{int(code)} " in documented
        assert f"\n    {int(code)} " in exits.__doc__


@pytest.mark.parametrize("name", [name for name, _ in COMMANDS])
def test_every_command_explains_itself_and_each_of_its_options(tracket, name):
    result = tracket(name, "--help")
    assert result.code == 0
    assert f"Usage: tracket {name}" in result.out
    assert "\x1b" not in result.out
    for line in result.out.splitlines():
        if line.startswith("│ --"):
            option = line.strip("│ ").split("  ")
            assert any(words.strip() for words in option[1:]), f"{name}: {line} is not explained"


def test_the_version_is_that_of_the_package(tracket):
    assert tracket("--version").out == f"{VERSION}\n"


def test_the_emulator_explains_its_own_options(tracket):
    result = tracket("emulator", "--help")
    assert result.code == 0
    assert result.out.startswith("Usage: tracket emulator [OPTIONS]\n\nA server that behaves like Tracket")
    assert "╭─ Worklogs ──" in result.out
    assert "│ --sample N            N worklogs of a made-up company." in result.out
    assert "│ --api CHOICE     Version that the printed settings name. [choices: 2.0, 1.0]" in result.out
    assert "│ --host TEXT      Address to listen on" in result.out
    assert "│ --help  Show this help message and exit." in result.out
    assert "Positional" not in result.out
    assert max(map(len, result.lines)) == 100


def test_the_help_of_the_emulator_is_ascii_where_nothing_else_can_be_encoded(tracket, monkeypatch):
    monkeypatch.setattr("tracket_async.cli.demo._mark", lambda: "#")
    assert tracket("emulator", "--help").out.isascii()


def test_the_emulator_says_what_it_cannot_do(tracket):
    result = tracket("emulator", "--sample", "-1")
    assert result.code == 2
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("lst",),
            'Unknown command "lst". Did you mean "list"? The commands are demo, export, sync, watch, report, import',
        ),
        (("lst",), "check, mcp, profile, emulator. See tracket --help"),
        (("list", "--limt", "1"), "Unknown option: --limt. Did you mean --limit? See tracket list --help"),
        (
            ("list", "--limit", "x"),
            "Invalid value for --limit: it must be a whole number. See tracket list --help",
        ),
        (("list", "--limit", "-1"), "Invalid value for --limit. It must be at least 0"),
        (("list", "--columns", "id,size"), "the name at place 2 is no column. The columns are id"),
        (
            ("list", "--api", "3.0"),
            'Invalid value for --api. Choose from: "1.0", "2.0". Did you mean "2.0"? See tracket list --help',
        ),
        (("list", "--descending=s3cret"), "Invalid value for --descending: it takes no value. See"),
        (("list", "--limit", "1" + "0" * 50 + "x"), "Invalid value for --limit: it must be a whole number. See"),
        (("list", "--since", "2" * 50), "Invalid value for --since: it is no date. Give"),
        (("list", "--rate", "s3cret"), "Invalid value for --rate: it must be a number. See"),
        (("list", "--since", "someday"), "Invalid value for --since: it is no date. Give YYYY-MM-DD"),
        (("list", "--since", "2026-02-30"), "Invalid value for --since: it is no date: there is no such day. See"),
        (
            ("watch", "s.duckdb", "--every", "0"),
            "Invalid value for --every: it is no duration. Give 90s, 15m or 1h. See",
        ),
        (("list", "--since", "2024-05-20T10:00"), "Invalid value for --since: it has no offset"),
        (("list", "--since", "2024-05-21", "--until", "2024-05-20"), "is after until"),
        (("list", "--since", "9999-12-31T23:59-08:00"), "since is outside of the years 1 to 9999 in UTC"),
        (("export", "--until", "0001-01-01T00:00+13:00"), "until is outside of the years 1 to 9999 in UTC"),
        (("--api", "2.0"), "Name a command first: see tracket --help"),
        (("--api", "3.0", "list"), 'Invalid value for --api. Choose from: "1.0", "2.0"'),
        (("get",), "tracket: ID is missing. See tracket get --help"),
        (("list", "--limit"), "tracket: --limit is missing, or has no value. See tracket list --help"),
        (
            ("update", "a", "--minutes", "1h30x"),
            "Invalid value for --minutes: it must be minutes such as 90, 1:30 or 1.5h",
        ),
        (("--install-completion", "tcsh"), "Completion is there for bash, fish and zsh. Name one of them"),
        (("--install-completion", "bash", "zsh"), "Completion is there for bash, fish and zsh"),
        (("get", "a", "b"), "There are too many arguments. See tracket get --help"),
        (("create", "--item", "1"), "is missing, or has no value"),
        (("update", "a"), "No change is given. Give an option such as --minutes 90"),
        (("update", "a", "--category", "b", "--clear", "category"), "contradict each other"),
        (("update", "a", "--clear", "user"), "Invalid value for --clear"),
        (("update", "a", "--minutes", "nan"), "it must be minutes such as 90, 1:30 or 1.5h"),
        (("update", "a", "--field", "x"), "--field 'x' is not REFERENCE=OPTION"),
        (("delete",), "No worklog is given"),
        (("delete", "a"), "There is no terminal to ask at. Give --yes"),
        (("export", "--concurrency", "0"), "Invalid value for --concurrency. It must be at least 1, not 0"),
        (("export", "--columns", "id,id"), "is named twice"),
        (("export", "--output", "/nowhere/x"), "The folder /nowhere does not exist. Create it"),
        (("demo", "--worklogs", "0"), "Invalid value for --worklogs. It must be at least 1"),
        (("demo", "--concurrency", "0"), "Invalid value for --concurrency. It must be at least 1, not 0"),
        (("demo", "--folder", "/nowhere/x"), "The folder /nowhere does not exist. Create it"),
        (("demo", "--folder", "/dev/null"), "/dev/null is not a folder"),
    ],
)
def test_a_mistake_in_the_arguments_is_one_line_and_ends_with_2(tracket, monkeypatch, arguments, line):
    monkeypatch.setenv("TRACKET_TOKEN", "t")
    result = tracket(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert line in result.err
    assert result.err.startswith("tracket: ")
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--token", "s3cret"),
        ("list", "--token=s3cret"),
        ("list", "--client-secret=s3cret"),
        ("list", "TRACKET_TOKEN=s3cret"),
        ("get", "--", "TRACKET_CLIENT_SECRET=s3cret"),
        ("list", "--env-file=TRACKET_TOKEN=s3cret"),
        ("TRACKET_TOKEN=s3cret", "list"),
    ],
)
def test_a_secret_among_the_arguments_is_refused_and_not_shown(tracket, arguments):
    result = tracket(*arguments, "--debug")
    assert result.code == 2
    assert "s3cret" not in result.out + result.err
    assert "A secret must not be an argument" in result.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("list", "s3cret", "more"), "There are too many arguments. See tracket list --help"),
        (("list", "--", "s3cret"), "There are too many arguments. See tracket list --help"),
        (("s3cret",), "tracket: Unknown command. "),
        (("get", "a", "-ps3cret"), "Unknown option: -p. See tracket get --help"),
        (("list", "--nope=s3cret"), "Unknown option: --nope. "),
        (("delete", "--field=s3cret"), "Unknown option: --field. See tracket delete --help"),
        (("list", "--s3cret"), "tracket: Unknown option. "),
        (("list", "--token-file", "s3cret"), "the --token-file cannot be read: No such file or directory"),
    ],
)
def test_an_argument_that_is_not_understood_is_not_shown(tracket, arguments, line):
    result = tracket(*arguments)
    assert result.code == 2
    assert "s3cret" not in result.out + result.err
    assert line in result.err


@pytest.mark.parametrize("name", ["TRACKET_TOKEN", "TRACKET_CLIENT_SECRET"])
def test_a_secret_of_the_environment_is_masked_in_errors(failing, monkeypatch, name):
    monkeypatch.setenv(name, "s3cret-and-long")
    for debug in ((), ("--debug",)):
        result = failing(errors.NotFoundError("there is no worklog s3cret-and-long"), *debug)
        assert "s3cret" not in result.err
        assert result.err.endswith("tracket: there is no worklog ***\n")
    monkeypatch.setenv(name, "worklog")  # could be a part of any word
    assert "no worklog" in failing(errors.NotFoundError("there is no worklog")).err


def test_missing_settings_are_named(tracket):
    result = tracket("list")
    assert result.code == 2
    assert "TRACKET_TOKEN" in result.err
    assert result.err.count("\n") == 1


@pytest.fixture
def failing(monkeypatch, tracket):
    """Runs ``tracket get a`` where building the client fails with an exception."""

    def fail(error, *arguments):
        def client(_self):
            raise error

        monkeypatch.setattr("tracket_async.cli.options.Connection.client", client)
        return tracket("get", "a", *arguments)

    return fail


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (errors.ServerError("503 from the server", stopped_by="attempts"), 5, "503 from the server. Try again later"),
        (errors.AuthenticationError("401 from the server"), 7, "401 from the server. Check TRACKET_TOKEN"),
        (errors.NotFoundError("there is no worklog of that id"), 1, "there is no worklog of that id"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (exits.Terminated(), 143, "terminated"),
        (ZeroDivisionError("oh"), 1, "unexpected ZeroDivisionError: oh. This is a bug in tracket"),
        (ModuleNotFoundError("No module named 'duckdb'", name="duckdb"), 1, "unexpected ModuleNotFoundError"),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(failing, error, code, line):
    result = failing(error)
    assert result.code == code
    assert result.out == ""
    assert result.err.startswith(f"tracket: {line}")
    assert result.err.count("\n") == 1


def test_with_debug_the_traceback_comes_before_the_line(failing):
    result = failing(errors.NotFoundError("there is no such worklog"), "--debug")
    lines = result.err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "tracket: there is no such worklog"


@pytest.mark.parametrize("debug", [(), ("--debug",)])
def test_an_error_commands_no_terminal(failing, debug):
    result = failing(errors.ServerError("503: \x1b[2J\u009b\u202ea\u2028b\x7f\r\nc\xa0d"), *debug)
    assert (
        result.err.splitlines()[-1] == "tracket: 503: \\u001b[2J\\u009b\\u202ea\\u2028b\\u007f c\xa0d. Try again later"
    )
    assert not {"\x1b", "\x9b", "\u202e", "\u2028", "\x7f"} & set(result.err)


@pytest.mark.parametrize("arguments", [("--help",), ("list", "--help"), ("--version",)])
def test_a_reader_that_does_not_want_the_help_gets_the_code_of_that(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "tracket_async.cli", *arguments]
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_help_that_nobody_reads_ends_as_any_other_output(failing):
    error = SystemExit(1)
    error.__context__ = BrokenPipeError(errno.EPIPE, "Broken pipe")
    assert failing(error).code == 141


def test_system_exit_keeps_its_code(failing):
    assert failing(SystemExit(3)).code == 3
    assert failing(SystemExit("words")).code == 1


def test_a_reader_that_has_gone_away_is_not_worth_a_word(failing):
    result = failing(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert (result.code, result.err) == (141, "")


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ([], []),
        (["--help"], ["--help"]),
        (["--version"], ["--version"]),
        (["help"], ["--help"]),
        (["help", "list"], ["list", "--help"]),
        (["--json", "list", "--limit", "1"], ["list", "--json", "--limit", "1"]),
        (["--profile", "list", "list"], ["list", "--profile", "list"]),
        (["--json"], ["--json"]),
        (["list", "-q"], ["list"]),
        (["-q"], []),
        (["--quiet", "export", "-o", "a"], ["export", "--quiet", "-o", "a"]),
        (["sync", "-q", "--", "-q"], ["sync", "-q", "--", "-q"]),
        (["list", "-q", "--", "-q"], ["list", "--", "-q"]),
    ],
)
def test_arguments_may_stand_where_people_put_them(given, taken):
    assert entry.rearranged(given, NAMES) == taken


def test_help_of_a_command_is_its_help(tracket):
    assert tracket("help").out == tracket("--help").out
    assert tracket("help", "list").out == tracket("list", "--help").out
    assert tracket("help", "profile", "add").out == tracket("profile", "add", "--help").out


def test_completion_is_installed_for_a_shell(tracket, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    result = tracket("--install-completion", "bash")
    assert result.code == 0
    assert "Open a new shell to use it." in result.err
    [script] = [path for path in tmp_path.rglob("*") if path.is_file() and "completions" in path.parts]
    assert "--approval" in script.read_text(encoding="utf-8")


def test_a_shell_that_cannot_be_told_is_to_be_named(tracket, monkeypatch):
    from cyclopts.completion import ShellDetectionError

    def unknown():
        raise ShellDetectionError

    monkeypatch.setattr("cyclopts.completion.detect.detect_shell", unknown)
    result = tracket("--install-completion")
    assert result.code == 2
    assert "It cannot be told which shell this is. Name it: tracket --install-completion bash" in result.err


@pytest.mark.parametrize("name", ["cyclopts", "rich"])
def test_without_the_extra_one_line_says_how_to_install_it(name, capsys, monkeypatch):
    real = builtins.__import__

    def missing(module, *args, **kwargs):
        if module == "tracket_async.cli.app":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert entry.main(["list"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("tracket: The command line is not installed. Run: ")
    assert "[cli]" in err


class Full(io.StringIO):
    """Standard output on a disk that is full."""

    def __init__(self, descriptor=None):
        super().__init__()
        self._descriptor = descriptor

    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fileno(self):
        if self._descriptor is None:
            raise io.UnsupportedOperation("fileno")
        return self._descriptor


def test_output_that_cannot_be_written_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Full())
    assert entry.main(["--version"]) == 1
    assert capsys.readouterr().err == "tracket: No space left on device\n"


def test_output_that_cannot_be_written_is_not_tried_again_at_the_end(monkeypatch, tmp_path):
    with (tmp_path / "out").open("wb") as file:
        monkeypatch.setattr(sys, "stdout", Full(file.fileno()))
        assert entry.main(["--version"]) == 1
        assert os.path.realpath(f"/proc/self/fd/{file.fileno()}") == os.devnull


def test_an_error_that_cannot_be_told_still_has_its_exit_code(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Full())
    assert entry.main(["lst"]) == 2


def test_text_in_any_script_is_printed_in_any_locale(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    entry.main(["--version"])
    stdout.write("日本")
    stdout.flush()
    assert stdout.buffer.getvalue().endswith(b"\\u65e5\\u672c")


def test_arguments_are_those_of_the_process_by_default(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tracket", "--version"])
    assert entry.main() == 0
    assert capsys.readouterr().out == f"{VERSION}\n"


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "tracket_async.cli", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == (f"{VERSION}\n", "")


def test_a_command_that_returns_a_number_ends_with_it(monkeypatch):
    app = types.SimpleNamespace(
        parse_args=lambda *_args, **_kwargs: (lambda: 4, types.SimpleNamespace(args=(), kwargs={}), {})
    )
    monkeypatch.setattr("tracket_async.cli.app.app", app)
    assert entry.main(["x"]) == 4


def test_the_result_comes_back():
    async def work():
        return 7

    assert run(work()) == 7


def test_an_exception_comes_through():
    async def work():
        raise LookupError

    with pytest.raises(LookupError):
        run(work())


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_cancels_the_work_which_may_clean_up(number, raised):
    cleaned = []

    async def work():
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(10)  # without a signal it ends, and the test fails
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    before = signal.getsignal(number)
    with pytest.raises(raised):
        run(work())
    assert cleaned == [True]
    assert signal.getsignal(number) == before


def test_a_cancellation_from_within_stays_one():
    async def work():
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run(work())


def test_a_closed_stream_is_opened_at_the_null_device(monkeypatch):
    def fstat(descriptor):
        if descriptor == 1:
            raise OSError(errno.EBADF, "Bad file descriptor")

    opened = []
    monkeypatch.setattr(output, "closed", set())
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fstat)
        patch.setattr(os, "open", lambda *how: opened.append(how))
        patch.setattr(os, "fdopen", lambda descriptor, mode, **_: opened.append((descriptor, mode)))
        patch.setattr(sys, "stdout", None)
        entry.open_standard_streams()
    assert opened == [(os.devnull, os.O_RDWR), (1, "w")]
    assert output.closed == {"stdout"}


def test_where_no_signal_handler_can_be_set_the_work_runs_all_the_same():
    async def work():
        return 7

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run, work()).result() == 7


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        ([(True, True), (True, False)], [(2, b"tracket: terminated\n"), 143]),  # busy; then the reader has stalled
        ([(False, True)], [143]),
    ],
)
def test_a_termination_ends_the_process_when_its_output_is_what_blocks_the_loop(monkeypatch, looks, said):
    ended, found = threading.Event(), []
    answers = iter([answer for of_error, of_output in looks for answer in (of_error, of_output)])

    async def work():
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended.wait(30)  # the loop is blocked, as by a print that nobody reads
        await asyncio.sleep(0)

    def end(code):
        found.append(code)
        ended.set()

    monkeypatch.setattr(entry, "PATIENCE", 0.01)
    monkeypatch.setattr(output, "is_read", lambda _descriptor=1: next(answers, False))
    monkeypatch.setattr(os, "write", lambda *what: found.append(what))
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(Terminated):
        run(work())
    assert found[: len(said)] == said  # a real _exit is the last thing that happens


@pytest.mark.parametrize("error", [Terminated(), KeyboardInterrupt()])
def test_output_that_nobody_reads_is_discarded_at_an_interruption(monkeypatch, error):
    class Stalled(io.StringIO):
        def flush(self):
            raise AssertionError

        def fileno(self):
            raise OSError

    monkeypatch.setattr(output, "is_read", lambda: False)
    monkeypatch.setattr(sys, "stdout", Stalled())
    invocation = exits.begin([])
    assert entry._failed(error, invocation) == exits.exit_code(error)


def test_uvloop_is_used_where_it_is_installed():
    uvloop = pytest.importorskip("uvloop")

    async def work():
        return type(asyncio.get_running_loop())

    assert issubclass(run(work()), uvloop.Loop)


def test_calls_cancelled_while_they_connect_close_their_sockets_on_uvloop(hostile):
    async def work():
        for turns in range(40):
            async with TracketClient.from_env(hostile.env("2.0")) as client:
                call = asyncio.ensure_future(client.worklogs.get("wl-0000"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                call.cancel()
                await asyncio.wait([call])

    uvloop = pytest.importorskip("uvloop")
    hostile.add(*hostile.make_rows(1))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work())
        gc.collect()
    assert [str(one.message) for one in found] == []


def test_without_uvloop_the_loop_is_that_of_asyncio(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert loop_factory() is None

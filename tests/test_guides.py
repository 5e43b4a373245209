"""Run the pages of docs for readers: each command in the order of the page, in a new folder, and what it prints.

In a page, a block with a title is a file that the reader saves (```` ```python title="app.py" ````). A block ``sh`` is
run by bash where that file is; the variables that it exports hold for the next ones. A block ``text`` is what the block
before it prints: a line ``...`` stands for any lines, and times, ports, ids and rates may differ.
Settings of an emulator with 5,000 worklogs are in ``tracket.env``, unless the page starts an emulator of its own.
"""

from __future__ import annotations

import configparser
import contextlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path
from xml.etree import ElementTree as ET

import attrs
import pytest
from aiohttp.test_utils import TestClient, TestServer

from tracket_async.emulator.faults import Status

PAGES = Path(__file__).parents[1] / "docs" / "pages"
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?[^\n]*\n(.*?)^```$', re.MULTILINE | re.DOTALL)
VOLATILE = re.compile(
    r"\d\d\d\d-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)?"  # a moment
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|\b\d+(?:\.\d+)? ?(?:s|ms|seconds)\b|[\d,]+/s|127\.0\.0\.1:\d+|\b\d+(?:\.\d+)? [KM]iB"
)
STYLE = re.compile(r"\x1b\[[\d;?]*[A-Za-z]|\r")
KEEP = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], mode=chr(119)))"
OTHERS = ("crontab", "docker", "journalctl", "loginctl", "pip", "sudo", "systemctl")
"""Programs that a page may call and that a test must not: each is replaced by one that does nothing."""


def followed(test):
    """Mark a test as one that takes many processes: nox -s pages runs it."""
    return pytest.mark.pages(pytest.mark.timeout(300)(test))


@attrs.frozen
class Block:
    language: str
    title: str | None
    text: str


def blocks_of(page: str) -> list[Block]:
    found = FENCE.findall((PAGES / page).read_text(encoding="utf-8"))
    return [Block(language, title or None, text) for language, title, text in found]


def file_of(page: str, title: str) -> str:
    (text,) = [block.text for block in blocks_of(page) if block.title == title]
    return text


def as_lines(text: str) -> list[str]:
    return [VOLATILE.sub("#", line).rstrip() for line in STYLE.sub("", text).splitlines() if line.strip()]


def is_shown(expected: list[str], printed: list[str]) -> bool:
    """Return whether the lines are those that were printed, where ``...`` stands for any number of lines."""
    if not expected:
        return not printed
    if expected[0].strip() == "...":
        return any(is_shown(expected[1:], printed[skipped:]) for skipped in range(len(printed) + 1))
    return bool(printed) and expected[0] == printed[0] and is_shown(expected[1:], printed[1:])


class Reader:
    """Somebody who does in a folder what a page says."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        self.printed = ""
        self.servers: list[subprocess.Popen[bytes]] = []

    def follow(self, page: str) -> None:
        for block in blocks_of(page):
            if block.title is not None:
                path = self.folder / block.title
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
            elif block.language == "sh" and "pip install" not in block.text:  # the tests have what it installs
                self.run(block.text)
            elif block.language == "text":
                printed = as_lines(self.printed)
                assert is_shown(as_lines(block.text), printed), f"{page} shows\n{block.text}\nnot\n" + "\n".join(
                    printed
                )

    def run(self, commands: str) -> None:
        if commands.startswith("tracket emulator"):
            self.serve(commands)
            return
        kept, typed, errors = (self.folder.with_name(name) for name in ("environ", "typed", "errors"))
        typed.write_bytes(b"a-secret\n")  # tracket profile add asks for one
        out, terminal = os.openpty()  # so that tables are drawn as readers see them
        with typed.open("rb") as stdin, errors.open("wb") as stderr:
            script = f"{commands}\n'{sys.executable}' -Sc '{KEEP}' '{kept}'"
            process = subprocess.Popen(
                ["bash", "-euc", script],
                cwd=self.folder,
                env=self.environ,
                stdin=stdin,
                stdout=terminal,
                stderr=stderr,
            )
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # EIO on Linux: nobody has the terminal open any more
            while read := os.read(out, 65536):
                shown += read
        os.close(out)
        process.wait()
        self.printed = (shown + errors.read_bytes()).decode()
        assert process.returncode == 0, f"{commands}\nprinted\n{self.printed}"
        self.environ = json.loads(kept.read_text(encoding="utf-8"))

    def serve(self, command: str) -> None:
        (settings,) = re.findall(r"--env-file (\S+)", command)
        (self.folder / settings).unlink(missing_ok=True)
        server = subprocess.Popen(
            ["bash", "-euc", f"exec {command}"], cwd=self.folder, env=self.environ, stdout=subprocess.PIPE
        )
        self.servers.append(server)
        assert server.stdout is not None
        greeting = [server.stdout.readline()]  # it is printed when the server listens and the file is written
        os.set_blocking(server.stdout.fileno(), False)
        self.printed = b"".join([*greeting, server.stdout.read() or b""]).decode()

    def close(self) -> None:
        for server in self.servers:
            server.terminate()
            server.communicate()


@pytest.fixture
def reader(tmp_path):
    if shutil.which("bash") is None or sys.platform == "win32":
        pytest.skip("the commands of the pages are for a POSIX shell")
    for name in ("cyclopts", "rich", "duckdb", "pyarrow"):
        pytest.importorskip(name)
    programs = tmp_path / "bin"
    programs.mkdir()
    call = f"#!{sys.executable}\nimport sys\nfrom tracket_async.cli import main\nsys.exit(main())\n"
    for name, script in {"tracket": call, **dict.fromkeys(OTHERS, "#!/bin/sh\n")}.items():
        (programs / name).write_text(script, encoding="utf-8")
        (programs / name).chmod(0o755)
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("TRACKET_", "XDG_"))}
    proxies = {name for name in ours if name.lower() in {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}}
    environ = {name: value for name, value in ours.items() if name not in proxies} | {
        "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "COLUMNS": "88",
        "LINES": "40",
        "NO_COLOR": "1",
        "TERM": "xterm",
        "TZ": "UTC",
        "PYTHONSAFEPATH": "",
    }
    folder = tmp_path / "work"
    folder.mkdir()
    made = Reader(folder, environ)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def served(reader):
    """A reader whose ``tracket.env`` has the settings of an emulator with 5,000 worklogs."""
    reader.run("tracket emulator --sample 5000 --env-file tracket.env")
    settings = (reader.folder / "tracket.env").read_text(encoding="utf-8")
    reader.environ |= dict(line.split("=", 1) for line in settings.splitlines())
    return reader


@followed
@pytest.mark.parametrize("page", ["start.md", "tutorial.md", "explanation/ambiguous-writes.md"])
def test_a_page_that_starts_an_emulator_works_as_it_says(reader, page):
    reader.follow(page)


@followed
@pytest.mark.parametrize(
    "page",
    [
        "how-to/containers.md",
        "how-to/cron-and-systemd.md",
        "how-to/import-time-trackers.md",
        "how-to/nightly-export.md",
        "how-to/proxies.md",
        "how-to/rate-limits.md",
        "explanation/inferred.md",
    ],
)
def test_a_page_works_as_it_says_with_settings_in_a_file(served, page):
    served.follow(page)


@followed
@pytest.mark.parametrize(
    ("page", "needed"),
    [
        ("how-to/excel.md", "xlsxwriter"),
        ("how-to/from-requests.md", "requests"),
        ("how-to/observability.md", "opentelemetry.sdk"),
    ],
)
def test_a_page_that_needs_another_package_works_as_it_says(served, page, needed):
    pytest.importorskip(needed)
    served.follow(page)


@followed
def test_a_table_of_postgresql_is_made_and_asked_as_the_page_says(served, postgres):
    page = "how-to/postgresql.md"
    served.environ["DATABASE"] = postgres.url
    served.follow(page)
    hours, view = (block.text.strip().rstrip(";") for block in blocks_of(page) if block.language == "pgsql")
    assert sum(float(row[2]) for row in postgres.rows(hours)) == pytest.approx(15_743.7, abs=10)
    postgres.execute(view)
    assert postgres.rows("SELECT count(*) FROM current_worklogs") == [(5_000,)]


def test_every_page_with_commands_is_followed_by_a_test():
    tests = Path(__file__).read_text(encoding="utf-8")
    for page in sorted(PAGES.rglob("*.md")):
        path = page.relative_to(PAGES).as_posix()
        if not path.startswith("reference/") and any(block.title for block in blocks_of(path)):
            assert f'"{path}"' in tests, f"no test runs {path}"


@followed
@pytest.mark.parametrize(
    ("faults", "code", "said"),
    [
        ("", 0, ""),
        ('{"fault": "status", "status": 503}', 5, "no answer after every retry"),
        ('{"fault": "status", "status": 403}', 7, "refused: look at the credentials"),
    ],
)
def test_the_nightly_script_ends_with_the_code_of_the_sync(reader, faults, code, said):
    script = file_of("how-to/nightly-export.md", "nightly.sh").replace("--wait 15m", "--wait 1s")
    (reader.folder / "nightly.sh").write_text(script, encoding="utf-8")
    (reader.folder / "faults.ndjson").write_text(faults, encoding="utf-8")
    reader.run("tracket emulator --sample 50 --faults faults.ndjson --env-file tracket.env")
    reader.run(f'code=0; bash nightly.sh || code=$?; [ "$code" -eq {code} ]')
    assert said in reader.printed


# -- cron and systemd ----------------------------------------------------------------------------------------------

FIELD = r"(?:\*|\d{1,2}(?:-\d{1,2})?(?:,\d{1,2})*)(?:/\d{1,2})?"
SCHEDULERS = "how-to/cron-and-systemd.md"


def test_the_crontab_has_variables_and_jobs_of_five_fields():
    jobs = []
    for line in file_of(SCHEDULERS, "tracket.cron").splitlines():
        if line and not line.startswith("#") and not re.fullmatch(r"[A-Z]+=\S+", line):
            assert re.match(rf"{FIELD} {FIELD} {FIELD} {FIELD} {FIELD} \S", line), line
            assert "%" not in line  # cron takes it for the end of the line
            jobs.append(line)
    assert len(jobs) == 1


def test_the_units_of_systemd_are_understood(tmp_path):
    units = []
    for name in ("tracket-sync.service", "tracket-sync.timer"):
        text = file_of(SCHEDULERS, name)
        parser = configparser.ConfigParser(interpolation=None, strict=True)
        parser.optionxform = str  # type: ignore[assignment]
        parser.read_string(text)
        assert "Description" in parser["Unit"]
        units.append(tmp_path / name)
        units[-1].write_text(text.replace("/opt/tracket/bin/tracket", sys.executable), encoding="utf-8")
    assert set(parser["Timer"]) == {"OnCalendar", "RandomizedDelaySec", "Persistent"}
    if shutil.which("systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
        ours = [line for line in done.stderr.splitlines() if "tracket" in line]
        assert ours == []


# -- a web service -------------------------------------------------------------------------------------------------


@pytest.mark.tracket(sample=3)
async def test_the_web_service_answers_with_a_worklog_or_with_whose_fault_it_is(tracket_emulator, monkeypatch):
    for name, value in tracket_emulator.env().items():
        monkeypatch.setenv(name, value)
    namespace = {"__name__": "service"}
    exec(compile(file_of("how-to/web-apps.md", "service.py"), "service.py", "exec"), namespace)
    found = tracket_emulator.worklogs()[0]
    async with TestClient(TestServer(namespace["app"])) as visitor:
        answers = [await visitor.get(f"/worklogs/{name}") for name in (found["worklogId"], "absent", "..")]
        assert [answer.status for answer in answers] == [200, 404, 404]
        assert (await answers[0].json())["minutes"] == found["worklogMinutes"]
        tracket_emulator.faults.add(Status(501), method="GET")
        answer = await visitor.get(f"/worklogs/{found['worklogId']}")
        assert (answer.status, "501" in (await answer.json())["error"]) == (503, True)
        answer = await visitor.get("/worklogs/%20")
        assert answer.status == 400


# -- containers, Airflow, Prefect, Grafana -------------------------------------------------------------------------


@followed
def test_the_dockerfile_and_the_cronjob_say_what_the_page_says():
    lines = [line for line in file_of("how-to/containers.md", "Dockerfile").splitlines() if line]
    known = {"FROM", "COPY", "RUN", "USER", "WORKDIR", "VOLUME", "ENTRYPOINT", "CMD", "#"}
    assert {line.split()[0] for line in lines} == known
    for line in lines:
        if line.startswith(("ENTRYPOINT", "CMD")):
            assert json.loads(line.split(maxsplit=1)[1])  # a list: no shell stands between a signal and the program
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load(file_of("how-to/containers.md", "cronjob.yaml"))["spec"]["jobTemplate"]["spec"]
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2, 7]
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # a failure policy needs it


def module(monkeypatch, name, **names):
    made = types.ModuleType(name)
    vars(made).update(names)
    monkeypatch.setitem(sys.modules, name, made)


def keep(**settings):
    """Return what stands in for a decorator with settings: it leaves the function, and what it was given."""

    def decorate(function):
        function.settings = settings
        return function

    return decorate


class NoRetryError(Exception):
    """What Airflow does not try again."""


@pytest.fixture
def airflow(monkeypatch):
    tasks = []

    def task(**settings):
        return lambda function: (tasks.append(keep(**settings)(function)), lambda: None)[1]

    module(monkeypatch, "airflow")
    module(monkeypatch, "airflow.sdk", dag=keep, task=task)
    module(monkeypatch, "airflow.sdk.exceptions", AirflowFailException=NoRetryError)
    namespace = {}
    exec(compile(file_of("how-to/airflow.md", "tracket_dag.py"), "tracket_dag.py", "exec"), namespace)
    (sync,) = tasks
    return namespace, sync


@pytest.mark.parametrize(
    ("code", "raised"), [(0, None), (1, RuntimeError), (2, NoRetryError), (5, RuntimeError), (7, NoRetryError)]
)
def test_airflow_retries_what_may_help(airflow, capsys, code, raised):
    namespace, sync = airflow
    assert namespace["tracket_sync"].settings["max_active_runs"] == 1
    assert namespace["COMMAND"][1] == "sync"
    namespace["COMMAND"] = (sys.executable, "-c", f"print('said'); raise SystemExit({code})")
    with pytest.raises(raised) if raised else contextlib.nullcontext():
        sync()
    assert capsys.readouterr().out == "said\n\n"


@pytest.fixture
def prefect(monkeypatch):
    logger = types.SimpleNamespace(info=print)
    module(monkeypatch, "prefect", flow=keep, task=keep, get_run_logger=lambda: logger)
    namespace = {"__name__": "tracket_flow"}
    exec(compile(file_of("how-to/prefect.md", "tracket_flow.py"), "tracket_flow.py", "exec"), namespace)
    return namespace


@pytest.mark.parametrize(("code", "again"), [(0, None), (1, True), (2, False), (5, True), (7, False)])
def test_prefect_retries_what_may_help(prefect, code, again):
    prefect["COMMAND"] = (sys.executable, "-c", f"raise SystemExit({code})")
    may_help = prefect["sync"].settings["retry_condition_fn"]
    with pytest.raises(Exception, match=r"sync ended|is wrong|are refused") if code else contextlib.nullcontext():
        prefect["sync"]()
    if again is not None:
        assert may_help(None, None, types.SimpleNamespace(result=prefect["sync"])) is again
    else:
        assert may_help(None, None, types.SimpleNamespace(result=lambda: None)) is False


def test_the_dashboard_asks_for_the_metric_and_the_attributes_that_the_observer_has():
    from tracket_async import instrumentation
    from tracket_async.events import AttemptEnded

    ended = AttemptEnded(
        request=1, method="GET", route="/worklogs", attempt=1, duration=0.1, status=500, error="ServerError"
    )
    attributes = {**instrumentation._common(ended), **instrumentation._outcome(ended)}
    labels = {name.replace(".", "_") for name in attributes} | {"le"}
    (metric,) = re.findall(r'create_histogram\(\s*"([\w.]+)"', inspect.getsource(instrumentation))
    name = f"{metric.replace('.', '_')}_seconds"
    dashboard = json.loads((PAGES / "how-to" / "grafana-dashboard.json").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(asked) >= len(dashboard["panels"]) == 4
    page = (PAGES / "how-to" / "observability.md").read_text(encoding="utf-8")
    for expression in [*asked, *re.findall(r"\| `(sum.*?)` \|", page)]:
        assert set(re.findall(r"\w+_duration_\w+", expression)) <= {
            f"{name}_{end}" for end in ("bucket", "count", "sum")
        }
        assert set(re.findall(r"(\w+)(?:=~|!=|=)\"", expression)) <= labels
        assert {word for group in re.findall(r"by \(([^)]*)\)", expression) for word in group.split(", ")} <= labels


def test_the_drawing_of_the_scan_is_whole_and_loads_nothing():
    drawing = (PAGES / "pictures" / "parallel-scan.svg").read_text(encoding="utf-8")
    root = ET.fromstring(drawing)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert re.findall(r"https?://[^\"]*", drawing) == ["http://www.w3.org/2000/svg"]

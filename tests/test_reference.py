"""The pages of the reference name all that the code has, and their code runs."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import attrs
import msgspec
import pytest

from tracket_async import Limits, RetryPolicy, Timeouts, TracketClient, errors, events
from tracket_async.emulator import Settings, faults
from tracket_async.emulator import __main__ as emulator
from tracket_async.emulator.settings import options as emulator_options

REFERENCE = Path(__file__).parents[1] / "docs" / "pages" / "reference"


def page(name):
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def tables(name, heading=""):
    """The rows of each table of a page, or below one of its headings, as cells, without its header: backticks stay."""
    found, text = [], page(name)
    if heading:
        text = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    for table in re.findall(r"^\|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE):
        rows = [re.split(r"(?<!\\) ?\| ?", line.strip("|").strip(" ")) for line in table.splitlines()]
        found.append([[cell.strip() for cell in row] for row in rows])
    return found


def ticked(cell):
    return re.findall(r"`([^`]+)`", cell)


def blocks(name, language):
    return re.findall(rf"^```{language}[^\n]*\n(.*?)^```", page(name), re.MULTILINE | re.DOTALL)


def namespace(name):
    names = {}
    for code in blocks(name, "python"):
        exec(compile(code, f"{name}.md", "exec"), names)
    return names


# -- errors and exit codes -----------------------------------------------------------------------------------------


def kinds(kind=errors.TracketError):
    return [each for sub in kind.__subclasses__() for each in (sub, *kinds(sub)) if each.__module__ == errors.__name__]


def facts(kind):
    """What the page says of a kind of error, in the words of the page."""
    exits = pytest.importorskip("tracket_async.cli.exits")
    status = re.match(r"(\d)(\d\d|xx)", kind.__doc__)
    error = kind("x", **({"status": int(status[0].replace("xx", "00"))} if status else {}))

    def is_retried(*, idempotent):
        return isinstance(error, errors.RequestError) and error.is_retryable(idempotent=idempotent)

    retried = "every call" if is_retried(idempotent=False) else "GET, PUT and DELETE"
    if not is_retried(idempotent=True):
        retried = "no"
    code = exits.exit_code(error)
    after = code if retried == "no" else exits.exit_code(error.add(stopped_by="attempts"))
    also = "" if after is code else f", after all retries {after:d}"
    return f"Fault: {error.fault}. Retried: {retried}. Exit code: {code:d}{also}."


def test_every_error_is_described_with_whose_fault_it_is_and_what_to_do():
    described = dict(re.findall(r"^## (\w+Error)\n\n(.*?)(?=^## |\Z)", page("errors"), re.MULTILINE | re.DOTALL))
    assert sorted(described) == sorted(kind.__name__ for kind in kinds())
    for kind in set(kinds()) - {errors.RequestError}:  # which is never raised itself
        assert described[kind.__name__].startswith(f"{facts(kind)}\n\n"), kind.__name__
    assert [name for name, text in described.items() if "\n**What to do:** " not in text] == []


def test_the_final_statuses_are_those_of_the_code():
    (listed,) = re.findall(r"every 5xx but ([\d, and\n]+)\.", page("errors"))
    assert {int(status) for status in re.findall(r"\d+", listed)} == errors.FINAL_STATUSES


@pytest.mark.tracket(sample=3)
async def test_the_code_of_the_page_of_errors_runs(tracket_client, tracket_emulator, capsys):
    minutes_of = namespace("errors")["minutes_of"]
    worklog = tracket_emulator.worklogs()[0]
    assert await minutes_of(tracket_client, worklog["worklogId"]) == worklog["worklogMinutes"]
    assert await minutes_of(tracket_client, "no-such-id") is None
    tracket_emulator.faults.add(faults.Status(status=403), method="GET")
    with pytest.raises(errors.PermissionDeniedError):
        await minutes_of(tracket_client, "any")
    assert capsys.readouterr().out.startswith("client Use credentials")


def test_every_exit_code_is_documented():
    exits = pytest.importorskip("tracket_async.cli.exits")
    (table,) = tables("exit-codes")
    assert [row[0] for row in table] == [f"{code:d}" for code in exits.ExitCode]


@pytest.fixture
def shell(tmp_path, tracket_server, monkeypatch):
    """What bash prints of a script in an empty folder, with the command ``tracket`` and the settings of an emulator."""
    pytest.importorskip("cyclopts")
    pytest.importorskip("duckdb")
    if shutil.which("bash") is None or sys.platform == "win32":
        pytest.skip("the commands of the pages are for a POSIX shell")
    command = tmp_path / "tracket"
    command.write_text(f"#!{sys.executable}\nfrom tracket_async.cli import main\nraise SystemExit(main())\n")
    command.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])

    def run(script, **environ):
        everything = {**os.environ, **tracket_server.env, "PATH": path, **environ}
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=tmp_path,
            env=everything,
            input="a-secret\n",  # what tracket profile add asks for
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.tracket(sample=3)
@pytest.mark.parametrize(("token", "said"), [(None, "verified"), ("wrong", "tracket sync ended with 7")])
def test_the_script_tells_the_exit_codes_apart(shell, token, said):
    (script,) = blocks("exit-codes", "sh")
    code, printed = shell(script, **({"TRACKET_TOKEN": token} if token else {}))
    assert (code, said in printed) == (0, True), printed


# -- the page of the command line ----------------------------------------------------------------------------------

SIMPLE = re.compile(r"tracket [^|>&;]*")
MARK = re.compile(r"(<!-- not run: [^\n]+ -->\n\n)?^```(sh|sql|pgsql)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILES = {
    "new.csv": "item_id,user_id,date,hours\n1,2,2026-03-02,1:30\n",
    "clockify.csv": "Task,User,Start Date,Duration (h),Tags\n1,2,2026-03-02,1:30,a\n",
    "people.csv": "id,name\n35851565,Ann\n",
}


def command_line(language, *, run=True):
    return [code for mark, each, code in MARK.findall(page("command-line")) if each == language and bool(mark) != run]


@pytest.mark.tracket(sample=300)
def test_every_command_of_the_page_of_the_command_line_runs(shell, tracket_server, tmp_path, monkeypatch, capsys):
    cli = pytest.importorskip("tracket_async.cli.entry")
    for name, value in {**tracket_server.env, "XDG_CONFIG_HOME": str(tmp_path / "config")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text, encoding="utf-8")
    Path("pass").write_text(f"#!/bin/sh\necho {tracket_server.token}\n", encoding="utf-8")
    Path("pass").chmod(0o755)
    profiles, *others = command_line("sh")
    own = profiles.replace("https://test.example.com", tracket_server.base_url)
    code, printed = shell(own, XDG_CONFIG_HOME=str(tmp_path / "config"))
    assert (code, "a-secret" in printed) == (0, False), printed
    for block in others:
        for line in block.replace("\\\n", "").splitlines():
            if SIMPLE.fullmatch(line.partition("#")[0]):
                assert cli.main(shlex.split(line, comments=True)[1:]) == 0, f"{line}: {capsys.readouterr().err}"
            else:
                assert shell(line)[0] == 0, line
    assert Path("changes.ndjson").exists()


@pytest.mark.tracket(sample=30)
def test_the_sql_for_a_table_of_postgresql_sums_up_an_export(shell, tmp_path):
    duckdb = pytest.importorskip("duckdb")
    assert shell("tracket export --output all.parquet")[0] == 0
    (query,) = command_line("pgsql")
    with duckdb.connect() as database:
        database.sql(f"CREATE TABLE worklogs AS SELECT *, NULL AS deleted_at FROM '{tmp_path / 'all.parquet'}'")
        months = database.sql(query).fetchall()
        ((hours,),) = database.sql("SELECT sum(minutes) / 60 FROM worklogs").fetchall()
    assert sum(row[2] for row in months) == pytest.approx(hours)


def test_what_is_not_run_says_why():
    skipped = [code for language in ("sh", "sql", "pgsql") for code in command_line(language, run=False)]
    assert [code.split()[1] for code in skipped] == ["export", "watch"]


# -- events and settings -------------------------------------------------------------------------------------------


def test_every_event_and_field_is_described():
    table, described = tables("events")
    listed = {ticked(row[0])[0]: ticked(row[2]) for row in table}
    real = {each.__name__: [f.name for f in msgspec.structs.fields(each)] for each in typing.get_args(events.Event)}
    assert listed == real
    assert {ticked(row[0])[0] for row in described} == {name for names in real.values() for name in names}


@pytest.mark.tracket(sample=3)
async def test_the_code_of_the_page_of_events_runs(tracket_emulator, monkeypatch):
    for name, value in tracket_emulator.env().items():
        monkeypatch.setenv(name, value)
    assert (await namespace("events")["statuses"]())[200] >= 1


def test_every_variable_is_described_with_its_option_and_argument():
    options = pytest.importorskip("tracket_async.cli.options")
    (table,) = tables("configuration", "Variables of the environment")
    assert {ticked(row[0])[0] for row in table} == options.KNOWN
    known = {f"--{name.replace('_', '-')}" for name in attrs.fields_dict(options.Connection)}
    assert {name for row in table for name in ticked(row[1])} <= known
    arguments = inspect.signature(TracketClient).parameters.keys()
    assert {name for row in table for name in ticked(row[2])} <= arguments


@pytest.mark.parametrize(("heading", "kind"), [("Time limits", Timeouts), ("Retries", RetryPolicy), ("Limits", Limits)])
def test_every_setting_is_described_with_its_default(heading, kind):
    (table,) = tables("configuration", heading)
    listed = [(ticked(row[0])[0], ticked(row[1])[0]) for row in table]
    assert listed == [(field.name, str(field.default)) for field in attrs.fields(kind)]


def test_the_env_file_of_the_page_is_read():
    env_file = pytest.importorskip("tracket_async.cli.env_file")
    (text,) = blocks("configuration", "ini")
    assert env_file.parse(text, name="tracket.env") == {
        "TRACKET_CLIENT_ID": "client-1",
        "TRACKET_CLIENT_SECRET": "a secret in single quotes is taken as it is",
        "TRACKET_ACCOUNT_ID": "1234567",
    }


# -- files ---------------------------------------------------------------------------------------------------------


COLUMNS = "The columns of worklogs"


def test_every_column_is_described_with_its_types():
    frames, sql, postgres = (
        pytest.importorskip(f"tracket_async.{name}") for name in ("frames", "export.tables", "export.postgres")
    )
    pytest.importorskip("pyarrow")
    schema = frames.arrow_schema(frames.ALL_NAMES)
    real = [(f"`{each.name}`", str(each.type), sql.sql_type(each.name), postgres._type(each.name)) for each in schema]
    listed, _ = tables("files", COLUMNS)
    assert [tuple(row[:4]) for row in listed] == real
    assert [row[4] for row in listed] == ["yes" if each.nullable else "no" for each in schema]


def test_the_formats_tables_and_keys_of_files_are_described():
    pytest.importorskip("duckdb")
    formats = pytest.importorskip("tracket_async.export.formats")
    sql = pytest.importorskip("tracket_async.export.tables")
    journal = pytest.importorskip("tracket_async.importer.journal")
    _, special = tables("files", COLUMNS)
    (store,), (keys,) = tables("files", "A store"), tables("files", "The journal of an import")
    assert {name for row in special for name in ticked(row[0])} == set(formats.FORMATS)
    assert [ticked(row[0])[0] for row in store] == list(sql.TABLES)
    assert [ticked(row[0])[0] for row in keys] == [f.name for f in msgspec.structs.fields(journal.JournalEntry)]


@pytest.mark.tracket(sample=3)
def test_the_keys_that_the_commands_print_are_described(tracket_server, tmp_path, monkeypatch, capsys):
    cli = pytest.importorskip("tracket_async.cli.entry")
    pytest.importorskip("duckdb")
    pytest.importorskip("cyclopts")
    monkeypatch.chdir(tmp_path)
    for name, value in tracket_server.env.items():
        monkeypatch.setenv(name, value)
    new = {"item_id": "1", "user_id": "2", "date": "2026-03-02", "minutes": 30}
    Path("new.ndjson").write_text(json.dumps(new), encoding="utf-8")
    (table,) = tables("files", "What the commands print")
    described = {ticked(row[0])[0]: set(ticked(row[1])) for row in table}

    def printed(*arguments, on="out"):
        assert cli.main(arguments) == 0
        captured = capsys.readouterr()
        lines = [line for line in getattr(captured, on).splitlines() if line.startswith("{")]
        return json.loads(lines[-1])

    export = printed("export", "--store", "all.duckdb", "--output", "a.csv", "--progress", "json", on="err")
    assert set(export) | {"progress", "end"} == described["export --progress json"]
    assert set(printed("sync", "all.duckdb", "--json")) == described["sync --json"]
    assert cli.main(("watch", "all.duckdb", "--once", "--json")) == 0
    assert set(printed("import", "new.ndjson", "--json")) == described["import --json"]
    changes = {"created", "updated", "deleted", "removed"}
    assert set(printed("watch", "all.duckdb", "--once", "--json")) | changes == described["watch --json"]
    assert set(printed("report", "all.duckdb", "--format", "json")) == described["report --format json"]
    assert set(printed("categories", "--json")) == described["categories --json"]
    (findings,) = printed("check", "--json").values()
    assert {"findings"}.union(*findings) == described["check --json"]


# -- the emulator --------------------------------------------------------------------------------------------------


def test_every_setting_of_the_emulator_is_described_with_its_default():
    (table,) = tables("emulator", "Settings")
    shown = {row[0].strip("`"): row[2].strip("`") for row in table}
    real = {
        f.name: "made up afresh" if isinstance(f.default, attrs.Factory) else str(f.default)
        for f in attrs.fields(Settings)
    }
    assert shown == real
    with_option = {row[0].strip("`") for row in table if row[1]}
    assert with_option == {each.name for each in emulator_options()}


def test_every_fault_is_described_with_its_settings():
    (rules,), (first,), (second,) = (tables("emulator", heading) for heading in ("Rules", "Faults", "Deviations"))
    assert {ticked(row[0])[0] for row in rules} == {field.name for field in attrs.fields(faults.Rule)} - {"fault"}
    assert [ticked(row[0])[0] for row in (*first, *second)] == list(faults.KINDS)
    assert [ticked(row[0])[0] for row in second] == list(faults.DEVIATIONS)
    for row in (*first, *second):
        kind = faults.KINDS[ticked(row[0])[0]]
        assert f"tracket_async.emulator.faults.{kind.__name__})" in row[0]
        names = [f.name for f in attrs.fields(kind) if not f.name.startswith("_")] if attrs.has(kind) else []
        assert ticked(row[2]) == names, row


async def test_the_code_of_the_page_of_the_emulator_runs():
    assert await namespace("emulator")["count_in_spite_of_resets"]() == 500


def test_the_faults_of_the_page_of_the_emulator_are_understood(capsys):
    (text,) = blocks("emulator", "json")
    assert [type(rule.fault) for rule in faults.read_rules(text)] == [faults.Status, faults.Reset]
    with pytest.raises(SystemExit):
        emulator.main(["--help"])
    printed = capsys.readouterr().out
    assert [option for option in re.findall(r"--[\w-]+", blocks("emulator", "sh")[0]) if option not in printed] == []

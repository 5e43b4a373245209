"""Check ``python -m tracket_async``, whose output stands in bug reports."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import tracket_async
from tracket_async import __main__ as report

VERSIONS = {"aiohttp": "3.14.5", "cyclopts": "5.0.1", "rich": "15.0", "adbc-driver-postgresql": "1.11.0"}
REQUIRED = [
    "aiohttp>=3.14.3",
    "cyclopts>=5.0; extra == 'all'",
    "cyclopts>=5.0 ; extra == 'cli'",
    'rich[jupyter]>=13.9; extra == "cli"',
    "tzdata>=2024.1; (sys_platform == 'win32') and extra == 'cli'",
    "opentelemetry-api>=1.30; extra == 'otel'",
    "adbc-driver-postgresql>=1.11; extra == 'postgres'",
    "a-longer-name-than-any-other; extra == 'postgres'",
]


def version(name):
    if name in VERSIONS:
        return VERSIONS[name]
    raise metadata.PackageNotFoundError(name)


def test_the_report_names_each_requirement_under_its_extra(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda _: REQUIRED)
    monkeypatch.setattr(metadata, "version", version)
    assert list(report.lines())[4:] == [
        "",
        "always required",
        "  aiohttp                 3.14.5",
        "",
        "extra cli",
        "  cyclopts                5.0.1",
        "  rich                    15.0",
        "  tzdata                  not installed (wanted where sys_platform == 'win32')",
        "",
        "extra otel",
        "  opentelemetry-api       not installed",
        "",
        "extra postgres",
        "  adbc-driver-postgresql  1.11.0",
        "  a-longer-name-than-any-other  not installed",
    ]


def test_without_metadata_the_report_says_why_it_is_short(monkeypatch):
    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    *_, last = report.lines()
    assert last == "tracket-async is imported from a folder and not installed, so its requirements are not known."


def test_a_distribution_without_requirements_ends_after_the_platform(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda _: None)
    assert len(list(report.lines())) == 4


def test_the_report_is_printed(capsys):
    report.main()
    first, python, *_ = capsys.readouterr().out.splitlines()
    assert first.split() == ["tracket-async", tracket_async.__version__]
    assert python.split()[1] == platform.python_version()


def test_the_module_runs_as_a_program_and_imports_nothing_that_is_required():
    code = (
        "import runpy, sys; runpy.run_module('tracket_async', run_name='__main__');"
        "print([name for name in ('aiohttp', 'attrs', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("tracket-async ")
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_one_line_and_a_reader_that_goes_away_is_none():
    command = [sys.executable, "-m", "tracket_async"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "tracket-async: No space left on device\n")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")

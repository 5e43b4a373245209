"""Every check of this project, as sessions; without arguments, all of those that a change must pass.

Each session has one dependency group of pyproject.toml. Code is tested as it will be installed: as a wheel, and
``PYTHONSAFEPATH`` keeps the checkout from being imported in its stead.
"""

from __future__ import annotations

import os
import shutil
import subprocess

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests", "coverage", "contract"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
SAFE_PATH = {"PYTHONSAFEPATH": "1"}

if shutil.which("pyenv") and "PYENV_VERSION" not in os.environ:
    # pyenv's python3.12 answers only when that version is selected: select all that are installed.
    listed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False)
    versions = [v for v in listed.stdout.split() if v.rsplit(".", 1)[0] in PYTHONS]
    if versions:
        os.environ["PYENV_VERSION"] = ":".join(versions)


def install(session: nox.Session, group: str, *, project: bool = True) -> None:
    session.install(*nox.project.dependency_groups(PYPROJECT, group))
    if project:
        session.install("--force-reinstall", "--no-deps", ".")
        session.install(".[all]")


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's rules and format, and the ranks between the files."""
    install(session, "lint", project=False)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check", "--diff")
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": "."})


@nox.session
def types(session: nox.Session) -> None:
    """Mypy and pyright, both strict, over the package and over the code of a user."""
    install(session, "types")
    session.run("mypy")
    session.run("pyright", "--pythonpath", f"{session.bin}/python")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The default suite, on every Python that is installed."""
    install(session, "test")
    session.run("pytest", *session.posargs, env=SAFE_PATH)


@nox.session
def coverage(session: nox.Session) -> None:
    """The default suite once more: no line or branch of the package stays untested."""
    install(session, "coverage")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "-q", *session.posargs, env=SAFE_PATH)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", "--fail-under=100")


@nox.session
def contract(session: nox.Session) -> None:
    """The emulator does what its own OpenAPI document says, whatever it is sent (schemathesis)."""
    install(session, "contract")
    session.run(
        "pytest",
        "tests/emulator/test_contract.py",
        *session.posargs,
        env=SAFE_PATH | {"TRACKET_CONTRACT_EXAMPLES": "40"},
    )


@nox.session
def soak(session: nox.Session) -> None:
    """The figures of docs/reliability.md, whole; takes long."""
    install(session, "test")
    session.run("pytest", "-m", "soak", "-s", "--timeout=3600", *session.posargs, env=SAFE_PATH)


@nox.session
def bench(session: nox.Session) -> None:
    """The figures of docs/performance.md, as ratios measured in one run."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)

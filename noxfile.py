"""Every check of this project, as nox sessions.

``nox`` alone runs lint, types and the test suite on the Python that runs it. ``nox -s ci`` runs what CI checks beyond
that: the other Pythons, coverage, the lowest versions of the dependencies, pandas and polars, and the OpenAPI contract.

Each session installs one dependency group of pyproject.toml. The package is tested as it will be installed, as a wheel;
``PYTHONSAFEPATH`` keeps Python from importing the checkout in its place.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True

PYPROJECT = nox.project.load_toml("pyproject.toml")
# 3.15 has no classifier yet: its suite was run in parts, not in one go.
PYTHONS = [*nox.project.python_versions(PYPROJECT), "3.15"]
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
SAFE_PATH = {"PYTHONSAFEPATH": "1"}
PARALLEL = ("--numprocesses=auto", "--maxprocesses=4", "--dist=worksteal")

nox.options.sessions = ["lint", "types", f"tests-{THIS}"]

if shutil.which("pyenv") and "PYENV_VERSION" not in os.environ:
    # pyenv's python3.12 answers only when that version is selected: select all that are installed.
    listed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False)
    versions = [v for v in listed.stdout.split() if v.rsplit(".", 1)[0] in PYTHONS]
    if versions:
        os.environ["PYENV_VERSION"] = ":".join(versions)

OTHERS = [version for version in PYTHONS if version != THIS and shutil.which(f"python{version}")]


def install(session: nox.Session, group: str, *, project: bool = True) -> None:
    session.install(*nox.project.dependency_groups(PYPROJECT, group))
    if project:
        session.install("--force-reinstall", "--no-deps", ".")
        session.install(".[all]")


@nox.session
def lint(session: nox.Session) -> None:
    """Check ruff's rules, the format, and the layers of imports."""
    install(session, "lint", project=False)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check", "--diff")
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": "."})


@nox.session
def types(session: nox.Session) -> None:
    """Run mypy and pyright, both strict, over the package and over code as a user writes it."""
    install(session, "types")
    session.run("mypy")
    session.run("pyright", "--pythonpath", f"{session.bin}/python")


@nox.session(python=sorted({THIS, *PYTHONS}))
def tests(session: nox.Session) -> None:
    """Run the test suite on one Python, in parallel processes."""
    install(session, "test")
    session.run("pytest", *PARALLEL, *session.posargs, env=SAFE_PATH)


@nox.session(python=OTHERS[:1] or [THIS])
def coverage(session: nox.Session) -> None:
    """Run the test suite and check that it reaches every line and branch of the package."""
    install(session, "coverage")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "-q", *PARALLEL, *session.posargs, env=SAFE_PATH)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", "--fail-under=100")


@nox.session(python=THIS)
def lowest(session: nox.Session) -> None:
    """Run the test suite on the lowest version of each dependency that pyproject.toml allows."""
    session.install("uv>=0.7")
    pinned = f"{session.create_tmp()}/lowest.txt"
    wanted = ("--resolution", "lowest-direct", "--all-extras", "--group", "test", "pyproject.toml")
    session.run(
        "uv", "pip", "compile", "--quiet", "--python", f"{session.bin}/python", *wanted, "--output-file", pinned
    )
    session.install("--requirement", pinned)
    session.install("--force-reinstall", "--no-deps", ".")
    session.run("pytest", "-q", *PARALLEL, *session.posargs, env=SAFE_PATH)


@nox.session
def contract(session: nox.Session) -> None:
    """Check the emulator against its own OpenAPI document with schemathesis."""
    install(session, "contract")
    session.run(
        "pytest",
        "tests/emulator/test_openapi.py",
        *session.posargs,
        env=SAFE_PATH | {"TRACKET_CONTRACT_EXAMPLES": "40"},
    )


@nox.session
def frames(session: nox.Session) -> None:
    """Test worklogs in pandas and polars, which are too large for every session."""
    install(session, "frames")
    session.run("pytest", "-q", "tests/test_frames.py", *session.posargs, env=SAFE_PATH)


@nox.session
def browser(session: nox.Session) -> None:
    """Look at the page of tracket report in Chromium; with the argument picture, take that of the README, too."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        session.skip("there is no chromium, or no chromedriver: on Debian, apt-get install chromium chromium-driver")
    install(session, "browser")
    picture = {"TRACKET_PICTURE": "docs/report.png"} if "picture" in session.posargs else {}
    session.run("pytest", "tests/report/test_browser.py", env=SAFE_PATH | picture)


@nox.session(python=False)
def ci(session: nox.Session) -> None:
    """Run what CI checks beyond ``nox`` alone; coverage replaces the plain suite on one of the other Pythons."""
    looked = ["browser"] if shutil.which("chromium") else []
    for name in [
        "contract",
        "frames",
        "lowest",
        *looked,
        f"coverage-{(OTHERS or [THIS])[0]}",
        *(f"tests-{each}" for each in OTHERS[1:]),
    ]:
        session.notify(name)


@nox.session
def soak(session: nox.Session) -> None:
    """Measure the figures of docs/reliability.md in full; takes hours."""
    install(session, "test")
    session.run("pytest", "-m", "soak", "-s", "--timeout=3600", *session.posargs, env=SAFE_PATH)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the figures of docs/performance.md, as ratios within one run."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)

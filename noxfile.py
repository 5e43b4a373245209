"""Every check of this project, as nox sessions.

``nox`` alone runs lint, types and the test suite on the Python that runs it. ``nox -s ci`` runs what CI checks beyond
that: the other Pythons, coverage, the lowest versions of the dependencies, the wheel and sdist, pandas, polars and
FastAPI, PostgreSQL, Dask, and the OpenAPI contract.

Each session installs one dependency group of pyproject.toml. The package is tested as it will be installed, as a wheel;
``PYTHONSAFEPATH`` keeps Python from importing the checkout in its place.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

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
LOCK = Path(".github", "requirements.txt")
SPELLED = (
    *("CHANGELOG.md", "LICENSE", "README.md", "noxfile.py", "pyproject.toml"),
    *("benchmarks", "docs", "tests", "tracket_async"),
)
POSTGRES_TESTS = (
    "tests/export/test_postgres.py",
    "tests/export/test_postgres_changes.py",
    "tests/export/test_postgres_kill.py",
    "tests/integrations/test_dlt.py::test_a_table_of_postgresql_is_what_the_server_has",
)
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
        extras = [name for name in PYPROJECT["project"]["optional-dependencies"] if name != "dask"]
        session.install(f".[{','.join(extras)}]")  # what dask needs comes with the groups that want it


def compile_lock(session: nox.Session, output: Path, *options: str) -> None:
    """Write the exact version of every package of every extra and group, for every platform; keep those it has."""
    groups = [f"--group={name}" for name in sorted(PYPROJECT["dependency-groups"])]
    what = ("--universal", f"--python-version={PYTHONS[0]}", "--generate-hashes", "--all-extras", *groups)
    how = ("--quiet", "--no-config", "--no-header", "--no-annotate")  # the file is to name no index
    session.run("uv", "pip", "compile", *how, *what, *options, "pyproject.toml", f"--output-file={output}")


def pins(file: Path) -> set[str]:
    return {line.split()[0] for line in file.read_text(encoding="utf-8").splitlines() if "==" in line.split(";")[0]}


@nox.session
def lint(session: nox.Session) -> None:
    """Check ruff's rules, the format, the spelling, the workflows, the layers of imports, and the lock."""
    install(session, "lint", project=False)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check", "--diff")
    # By name: what else lies in the folder, as the demo's files, is not the project's.
    session.run("codespell", *SPELLED)
    session.run("codespell", "--check-hidden", ".ci", ".github")
    session.run("zizmor", "--quiet", "--offline", "--strict-collection", ".github")
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": "."})
    fresh = Path(shutil.copy(LOCK, session.create_tmp()))
    compile_lock(session, fresh)
    if pins(fresh) != pins(LOCK):
        session.error(f"{LOCK} does not fit pyproject.toml any more; run: nox -s lock")


@nox.session
def lock(session: nox.Session) -> None:
    """Bring the lock up to date; with the argument --upgrade, with the newest version of everything."""
    session.install("uv>=0.7")
    compile_lock(session, LOCK, *session.posargs)


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
def integrations(session: nox.Session) -> None:
    """Test worklogs in pandas, polars and FastAPI, which are too large for every session."""
    install(session, "integrations")
    files = ("tests/test_event_loop.py", "tests/test_frames.py", "tests/test_pydantic.py")
    session.run("pytest", "-q", *files, *session.posargs, env=SAFE_PATH)


@nox.session
def pages(session: nox.Session) -> None:
    """Follow the pages of docs as a reader does: every command and program, and what it prints."""
    install(session, "pages")
    session.run("pytest", "-q", "-m", "pages", *PARALLEL, "tests/test_guides.py", *session.posargs, env=SAFE_PATH)


@nox.session
def postgres(session: nox.Session) -> None:
    """Test tables of PostgreSQL, on the server that TRACKET_TEST_POSTGRES names, or on one that is started."""
    install(session, "postgres")
    session.run("pytest", "-q", *POSTGRES_TESTS, *session.posargs, env=SAFE_PATH)


@nox.session
def dask(session: nox.Session) -> None:
    """Test exports on Dask: clusters of processes on this machine, whose workers are killed."""
    install(session, "dask")
    session.run("pytest", "-q", "tests/integrations/dask", *session.posargs, env=SAFE_PATH)


@nox.session
def browser(session: nox.Session) -> None:
    """Look at the page of tracket report in Chromium; with the argument picture, take that of the README, too."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        session.skip("there is no chromium, or no chromedriver: on Debian, apt-get install chromium chromium-driver")
    install(session, "browser")
    picture = {"TRACKET_PICTURE": "docs/pages/pictures/report.png"} if "picture" in session.posargs else {}
    session.run("pytest", "tests/report/test_browser.py", env=SAFE_PATH | picture)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site of the documentation, warnings as errors, and check every link and anchor, without a network.

    With the argument write, bring the pages that are made from the code up to date first; with pictures, take those of
    a terminal, too.
    """
    install(session, "docs", project=bool(session.posargs))
    if "write" in session.posargs:
        session.run("python", "docs/generate.py", env=SAFE_PATH)
    if "pictures" in session.posargs:
        session.run("python", "docs/pictures.py", env=SAFE_PATH)
    site = Path("docs", "site")
    said = session.run("zensical", "build", "--clean", "--strict", "--config-file", "docs/mkdocs.yml", silent=True)
    session.log(said)
    if "griffe:" in said:
        session.error("Zensical takes the warnings about docstrings, the lines with griffe above, for no errors; we do")
    shutil.copy(Path("docs", "llms.txt"), site)
    shutil.copytree(Path("docs", "pages"), site / "pages", ignore=shutil.ignore_patterns("*.png", "*.svg"))
    session.run("python", "docs/links.py", str(site))


@nox.session
def package(session: nox.Session) -> None:
    """Build wheel and sdist twice with equal bytes, check them, and import the wheel with each extra alone."""
    install(session, "package", project=False)
    dist, again = Path("dist"), Path(session.create_tmp(), "again")
    for folder in (dist, again):
        shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build", "--installer=uv", f"--outdir={dist}")  # the wheel is made from the sdist
    session.run(
        "python", "-m", "build", "--installer=uv", f"--outdir={again}", "--sdist", "--wheel"
    )  # from the checkout
    first, second = (
        {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in each.iterdir()} for each in (dist, again)
    )
    session.log(f"built twice: {first}")
    if first != second:
        session.error(f"the second build differs: {second}")
    (wheel,) = dist.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = {f.as_posix() for f in Path("tracket_async").rglob("*") if f.is_file() and "__pycache__" not in f.parts}
    if names != files:
        session.error(f"the wheel and the checkout differ in {sorted(names ^ files)}")
    session.run("twine", "check", "--strict", *map(str, sorted(dist.iterdir())))
    session.run("check-wheel-contents", str(wheel))
    for extra in ["", *PYPROJECT["project"]["optional-dependencies"]]:
        wanted = f"{wheel}[{extra}]" if extra else str(wheel)
        alone = (
            "--isolated",
            "--no-project",
            "--no-config",
            "--quiet",
            f"--python={session.bin}/python",
            "--with",
            wanted,
        )
        session.run("uv", "run", *alone, "python", "tests/installed.py", extra, env=SAFE_PATH)


@nox.session(python=False)
def ci(session: nox.Session) -> None:
    """Run what CI checks beyond ``nox`` alone; coverage replaces the plain suite on one of the other Pythons."""
    looked = ["browser"] if shutil.which("chromium") else []
    for name in [
        "docs",
        "package",
        "contract",
        "dask",
        "integrations",
        "lowest",
        "pages",
        "postgres",
        *looked,
        f"coverage-{(OTHERS or [THIS])[0]}",
        *(f"tests-{each}" for each in OTHERS[1:]),
    ]:
        session.notify(name)


@nox.session
def soak(session: nox.Session) -> None:
    """Measure the figures of docs/pages/explanation/reliability.md in full; takes hours."""
    install(session, "test")
    session.run("pytest", "-m", "soak", "-s", "--timeout=3600", *session.posargs, env=SAFE_PATH)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the figures of docs/pages/explanation/performance.md, as ratios within one run."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)

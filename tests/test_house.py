"""Check the house rules: exports, imports between layers, docstrings, errors."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import pickle
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import tracket_async
from tracket_async import errors
from tracket_async.errors import ClientStateError, RequestError, TracketError

PACKAGE = Path(tracket_async.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
ERRORS = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, TracketError)]


def files_of(package):
    found = [file for file in FILES if file.relative_to(PACKAGE).parts[0] == package]
    assert found, package
    return found


def imports_of(file):
    """Every module that a file imports, also inside functions and for type checkers only."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} imports relatively"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


# -- the exports --------------------------------------------------------------------------------------------------


def test_what_is_exported_is_what_all_says():
    assert tracket_async.__all__ == sorted(tracket_async.__all__, key=lambda name: (not name.isupper(), name))
    for name in tracket_async.__all__:
        assert getattr(tracket_async, name) is not None
    assert set(tracket_async.__all__) <= set(dir(tracket_async))


def test_type_checkers_are_told_the_same_names():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    told = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert told | {"__version__"} == set(tracket_async.__all__)
    for node in block.body:
        if isinstance(node, ast.ImportFrom):
            home = importlib.import_module(node.module)
            for alias in node.names:
                assert getattr(home, alias.name) is getattr(tracket_async, alias.name)


def test_every_error_is_exported():
    assert {cls.__name__ for cls in ERRORS} <= set(tracket_async.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Tracket'"):
        _ = tracket_async.Tracket


def test_importing_a_name_by_star_works():
    code = "from tracket_async import *; print(TracketClient.__name__, repr(UNSET))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["TracketClient", "UNSET"]


def test_the_version_is_that_of_the_distribution():
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", tracket_async.__version__)
    assert tracket_async.__version__ == importlib.metadata.version("tracket-async")


def test_importing_the_client_imports_none_of_what_few_need():
    heavy = (
        *("cattrs", "cyclopts", "duckdb", "opentelemetry", "pyarrow", "rich", "tenacity", "uvloop"),
        *(
            "tracket_async._api.v1",
            "tracket_async.cli",
            "tracket_async.emulator",
            "tracket_async.export",
        ),
    )
    code = f"import sys; from tracket_async import TracketClient; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


# -- the ranks (import-linter knows them all; these hold wherever the tests run) -----------------------------------


def test_the_emulator_is_an_island():
    for file in files_of("emulator"):
        ours = {name for name in imports_of(file) if name.startswith("tracket_async")}
        assert all(name.startswith("tracket_async.emulator") for name in ours), file


def test_only_the_doors_know_the_emulator():
    for file in FILES:
        rank = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if rank not in {"emulator", "testing", "cli"}:
            assert not any(name.startswith("tracket_async.emulator") for name in imports_of(file)), file


def test_the_api_never_awaits_and_knows_no_transport():
    for file in files_of("_api"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        assert not any(isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor) for node in ast.walk(tree))
        roots = {name.partition(".")[0] for name in imports_of(file)}
        assert not roots & {"aiohttp", "asyncio", "socket", "time", "yarl"}, file


def test_aiohttp_is_known_to_the_transport_and_the_emulator_alone():
    for file in FILES:
        if not {"_http", "emulator"} & set(file.relative_to(PACKAGE).parts):
            assert "aiohttp" not in {name.partition(".")[0] for name in imports_of(file)}, file


def test_every_file_has_a_docstring_and_is_one_subject():
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        docstring = ast.get_docstring(ast.parse(text))
        assert docstring, f"{file} says nothing"
        assert docstring.splitlines()[0].endswith((".", ":")) or len(docstring.splitlines()) > 1, file
        assert len(text.splitlines()) <= 700, f"{file}: is it two subjects?"


# -- the lock ----------------------------------------------------------------------------------------------------------


def test_the_lock_has_what_pyproject_requires_and_names_no_index():
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    extras, groups = project["project"]["optional-dependencies"], project["dependency-groups"]
    lists = [project["project"]["dependencies"], *extras.values(), *groups.values()]
    required = [Requirement(text) for texts in lists for text in texts if isinstance(text, str)]
    lock = (root / ".github" / "requirements.txt").read_text(encoding="utf-8")
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE))
    for each in required:
        name = re.sub(r"[-_.]+", "-", each.name.lower())
        assert name == "tracket-async" or locked.get(name) in each.specifier, f"{each}: run nox -s lock"
    assert "://" not in lock


# -- the tests themselves ---------------------------------------------------------------------------------------------

CHANGING = {"os.getpid", "os.urandom", "time.monotonic", "time.time", "uuid.uuid4"}
CHANGING |= {f"{module}.{name}" for module in ("datetime", "dt.datetime", "dt.date") for name in ("now", "today")}


def run_at_import(tree):
    """Every node that runs when the file is imported: no body of a function, but its decorators and defaults."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [*node.decorator_list, node.args]
        elif not isinstance(node, ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def test_the_cases_of_a_test_have_the_same_names_in_every_process():
    # pytest-xdist stops where they differ, as the compressed bytes of gzip do from one second to the next.
    for file in sorted(Path(__file__).parent.rglob("test_*.py")):
        for node in run_at_import(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                dated = called == "gzip.compress" and "mtime" not in {keyword.arg for keyword in node.keywords}
                assert not dated, f"{file}:{node.lineno} compresses with the time of now: say mtime=0"
                assert called not in CHANGING, f"{file}:{node.lineno}: {called}() is another in every process"


# -- docstrings ----------------------------------------------------------------------------------------------------

VERBS = frozenset(
    re.findall(
        r"\w+",
        """
        Accept Acquire Add Advance Allow Answer Append Apply Ask Assert Assign Attach Await Backfill Begin Bound
        Bring Build Call Cancel Cap Carry Change Check Choose Classify Clear Close Collect Commit Compare
        Compile Complete Compute Connect Convert Copy Count Create Cut Decide Declare Decode Decompress Delay
        Delete Deny Describe Detect Discard Disconnect Divide Do Draw Drop Emit Enclose Encode End Ensure Enter
        Escape Estimate Exchange Execute Exit Expire Explain Export Extend Feed Fetch Fill Find Finish Fit Flush
        Follow Forget Format Generate Get Give Group Guard Halve Hand Handle Hold Ignore Import Inflate Insert
        Inspect Install Invalidate Iterate Join Keep Leave Let Limit List Load Lock Log Look Make Map Mark Mask
        Match Measure Mend Merge Move Mute Name Narrow Note Notify Open Order Parse Pass Pause Pay Place Prepare
        Print Probe Process Publish Put Quote Raise Read Receive Record Redirect Refresh Refuse Register Reject
        Release Remove Rename Render Reopen Repeat Replace Report Request Require Reset Resolve Restart Restore
        Resume Retry Return Rewrite Round Run Save Say Scan Schedule See Select Send Serve Set Settle Shift
        Shorten Show Sign Simulate Skip Sleep Sort Split Start Steal Step Stop Store Stream Strip Subscribe Sum
        Swap Take Tell Tighten Translate Trim Truncate Try Undo Unlock Unset Update Upsert Use Validate Verify
        Wait Wake Walk Warm Warn Widen Wrap Write Yield
        """,
    )
)
"""The first words of docstrings of functions and methods: imperative verbs. Add to it what is missing."""

QUESTIONS = frozenset({"How", "That", "What", "When", "Where", "Whether", "Which", "Who", "Why"})


def docstrings():
    """Every docstring of the package: where it is, the node, its first word."""
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    name = getattr(node, "name", "the module")
                    yield f"{file.relative_to(PACKAGE)}: {name}: {text.splitlines()[0]}", node, re.split(r"\W", text)[0]


def test_every_docstring_of_a_function_begins_with_a_verb():
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert [where for where, node, word in docstrings() if isinstance(node, functions) and word not in VERBS] == []


def test_no_docstring_of_a_class_or_module_begins_with_a_question():
    assert [where for where, _, word in docstrings() if word in QUESTIONS] == []


# -- what every error and public name owes its reader --------------------------------------------------------------


def test_every_error_is_documented_blames_somebody_and_survives_pickling():
    for cls in ERRORS:
        assert inspect.getdoc(cls) not in {None, inspect.getdoc(cls.__mro__[1])}, cls
        error = cls("what happened")
        error.cursor = "c"
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), copy.args, copy.cursor, copy.fault) == (cls, error.args, "c", error.fault)
        assert copy.fault in {"client", "server", "network"}, cls
        assert isinstance(error, RequestError | ClientStateError) == hasattr(cls, "maybe_sent"), cls


def test_every_public_name_is_documented():
    for name in tracket_async.__all__:
        value = getattr(tracket_async, name)
        if inspect.isclass(value) and value.__module__.startswith("tracket_async"):
            assert inspect.getdoc(value), name
            for member, function in inspect.getmembers(value, inspect.isfunction):
                if not member.startswith("_") and function.__module__.startswith("tracket_async"):
                    assert inspect.getdoc(function), f"{name}.{member}"


def test_every_module_can_be_imported_by_itself():
    """No cycle hides behind the order in which somebody happens to import."""
    names = [module.name for module in pkgutil.iter_modules([str(PACKAGE)], "tracket_async.")]
    ours = [name for name in names if not name.endswith((".cli", ".export"))]  # those have extras to do without
    code = (
        "import importlib, sys\n"
        f"for name in {ours}:\n"
        "    for old in [old for old in sys.modules if old.startswith('tracket_async')]: del sys.modules[old]\n"
        "    importlib.import_module(name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

"""What is said after an error that leaves something to go on with."""

from __future__ import annotations

import pytest

from tracket_async import errors
from tracket_async.cli import exits


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "s.duckdb"
    path.touch()
    return path


def ended(invocation, store, error):
    with pytest.raises(type(error)), exits.keeping(store):
        raise error
    return exits.resume_hint(invocation)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), errors.ServerError("503"), errors.IncompleteExportError("x")])
def test_the_command_is_given_as_a_shell_reads_it(store, error):
    invocation = exits.begin(["export", "-o", "a b.csv"])
    assert ended(invocation, store, error) == (
        f"What was fetched is kept in {store}. To go on: tracket export -o 'a b.csv'"
    )


@pytest.mark.parametrize("kind", [errors.UsageError, errors.StoreError, errors.TargetBusyError])
def test_nothing_is_said_where_the_same_command_would_meet_the_same(store, kind):
    assert ended(exits.begin(["export"]), store, kind("x")) is None


def test_nothing_is_said_where_nothing_is_left(store):
    invocation = exits.begin(["export"])
    store.unlink()
    assert ended(invocation, store, KeyboardInterrupt()) is None
    store.touch()
    assert ended(invocation, store, KeyboardInterrupt()) is not None
    store.unlink()
    assert exits.resume_hint(invocation) is None


def test_nothing_is_said_of_a_run_that_was_never_begun(store):
    token = exits._current.set(None)
    with pytest.raises(KeyboardInterrupt), exits.keeping(store):
        raise KeyboardInterrupt
    exits._current.reset(token)

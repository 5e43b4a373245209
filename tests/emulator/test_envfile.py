"""The environment file: the owner's alone, whole or not there, and never through a symbolic link."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tracket_async.emulator.__main__ import shell_lines, write_env_file


def test_it_has_a_line_for_each_setting_and_is_its_owners_alone(tmp_path):
    path = tmp_path / "env"
    before = os.umask(0)
    try:
        write_env_file(path, {"A": "1", "B": "x=y"})
    finally:
        os.umask(before)
    assert path.read_text() == "A=1\nB=x=y\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_was_there_is_replaced_and_so_is_its_mode(tmp_path):
    path = tmp_path / "env"
    path.write_text("old")
    path.chmod(0o644)
    write_env_file(path, {"A": "1"})
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("A=1\n", 0o600)


def test_a_symbolic_link_is_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_text("precious")
    link = tmp_path / "env"
    link.symlink_to(target)
    with pytest.raises(OSError, match="symbolic link"):
        write_env_file(link, {"A": "1"})
    assert target.read_text() == "precious"


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "env"
    path.write_text("old")

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_env_file(path, {"A": "1"})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_shell_lines_survive_a_shell():
    odd = "a b'c\"d$e`f"
    script = shell_lines({"ODD": odd}) + 'printf %s "$ODD"'
    assert subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True).stdout == odd

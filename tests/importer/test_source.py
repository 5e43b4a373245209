"""The bytes of an input file."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sys
import tempfile
import threading

import pytest

from tracket_async.errors import StorageError, StoreError, UsageError
from tracket_async.importer import source as source_module
from tracket_async.importer.source import Fingerprint, InputSource

CONTENT = b"one\r\ntwo\n\nlast"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file.csv"
    path.write_bytes(CONTENT)
    return path


def fingerprint(content):
    return Fingerprint(size=len(content), sha256=hashlib.sha256(content).hexdigest())


def test_an_input_source_can_be_read_many_times(path):
    with InputSource(str(path)) as source:
        for _ in range(2):
            assert list(source.lines()) == [b"one\r\n", b"two\n", b"\n", b"last"]
        assert source.fingerprint() == fingerprint(CONTENT)
        assert next(source.lines()) == b"one\r\n"
        assert (source.name, source.path) == (str(path), path.resolve())


def test_a_file_that_ends_in_gz_is_its_content(tmp_path):
    path = tmp_path / "in.csv.GZ"
    path.write_bytes(gzip.compress(CONTENT[:5]) + gzip.compress(CONTENT[5:]))
    with InputSource(str(path)) as source:
        for _ in range(2):
            assert b"".join(source.lines()) == CONTENT
        assert source.fingerprint() == fingerprint(CONTENT)
        assert source.path == path.resolve()


@pytest.mark.parametrize("cut", [1, 8, 9, 40])
def test_a_truncated_gzip_file_is_refused(tmp_path, cut):
    path = tmp_path / "in.csv.gz"
    path.write_bytes(gzip.compress(os.urandom(100))[:-cut])
    with pytest.raises(UsageError, match=r"in.csv.gz ends too early: a part of the gzip file is missing"):
        InputSource(str(path))


@pytest.mark.parametrize("at", [0, 12, -6])
def test_a_file_that_is_no_gzip_file_or_a_broken_one_is_refused(tmp_path, at):
    path, content = tmp_path / "in.csv.gz", bytearray(gzip.compress(bytes(range(256))))
    content[at] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"in.csv.gz is not the gzip file that .gz promises: "):
        InputSource(str(path))


def test_a_link_has_the_path_of_its_file(path, tmp_path):
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    with InputSource(str(link)) as source:
        assert (source.name, source.path) == (str(link), path.resolve())


@pytest.mark.parametrize("change", [b"ONE", b"one\r\ntwo\n\nlast and more"])
def test_a_file_that_changes_while_it_is_read_raises(path, change):
    with InputSource(str(path)) as source:
        lines = source.lines()
        next(lines)
        before = path.stat()
        path.write_bytes(change)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        with pytest.raises(StoreError, match=r"was changed while it was being read\. Run the same again once nobody"):
            next(lines)
        with pytest.raises(StoreError):
            source.fingerprint()


def test_a_file_that_was_touched_counts_as_changed(path):
    with InputSource(str(path)) as source:
        os.utime(path, ns=(0, 1))
        with pytest.raises(StoreError):
            list(source.lines())


@pytest.mark.parametrize("extra", [0, 1])
def test_a_line_over_the_limit_is_refused(path, extra, monkeypatch):
    monkeypatch.setattr(source_module, "MAX_LINE_BYTES", 1000)
    path.write_bytes(b"x\n" + b"a" * (1000 + extra))
    with InputSource(str(path)) as source:
        if extra:
            with pytest.raises(UsageError, match=r"Line 2 of .* is longer than 1,000 bytes, so it is no file of"):
                list(source.lines())
        else:
            assert len(list(source.lines())) == 2


@pytest.mark.parametrize(("name", "reason"), [("none.csv", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_opened_is_a_usage_error(tmp_path, name, reason):
    with pytest.raises(UsageError, match=f"cannot be read: {reason}"):
        InputSource(str(tmp_path / name))


def test_a_file_that_cannot_be_read_is_a_usage_error(path, monkeypatch):
    class Broken(io.BytesIO):
        def fileno(self):
            return original

        def readline(self, *_):
            raise OSError(5, "Input/output error")

    with InputSource(str(path)) as source:
        original = source._file.fileno()
        monkeypatch.setattr(source, "_file", Broken())
        with pytest.raises(UsageError, match=r"cannot be read: Input/output error"):
            list(source.lines())
        monkeypatch.undo()


class Input:
    def __init__(self, content):
        self.buffer = io.BytesIO(content)


def test_standard_input_is_copied_and_read_twice(monkeypatch):
    monkeypatch.setattr(sys, "stdin", Input(CONTENT))
    with InputSource("-") as source:
        assert (source.name, source.path) == ("standard input", None)
        assert len(list(source.lines())) == len(list(source.lines())) == 4
        assert source.fingerprint() == fingerprint(CONTENT)


def test_the_copy_of_standard_input_has_no_name(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", Input(CONTENT))
    with InputSource("-") as source:
        assert list(tmp_path.iterdir()) == []
        assert os.fstat(source._file.fileno()).st_mode & 0o777 == 0o600


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_copied_too(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(CONTENT,))
    writer.start()
    with InputSource(str(pipe)) as source:
        writer.join()
        assert source.path is None
        assert source.fingerprint() == fingerprint(CONTENT)


def test_a_full_disk_while_copying_is_a_storage_error(monkeypatch):
    class Full(io.BytesIO):
        def write(self, _data):
            raise OSError(28, "No space left on device")

    made = Full()
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: made)
    monkeypatch.setattr(sys, "stdin", Input(CONTENT))
    with pytest.raises(StorageError, match=r"cannot copy standard input to .*: No space left on device"):
        InputSource("-")
    assert made.closed

"""The format of each file, and files that appear whole or not at all."""

from __future__ import annotations

import asyncio
import errno
import gzip
import io
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from tracket_async.cli import destinations, output
from tracket_async.errors import StorageError, UsageError


def test_the_ending_decides_whatever_its_case_and_what_is_said_counts_more(tmp_path):
    names = [
        str(tmp_path / name) for name in ("a.NDJSON", "a.jsonl", "a.csv.gz", "a.Parquet", "a.duckdb", "a.xlsx", "a")
    ]
    found = destinations.files(names, None)
    assert list(found.values()) == ["ndjson", "ndjson", "csv", "parquet", "duckdb", "xlsx", "ndjson"]
    assert list(found) == [Path(name) for name in names]
    assert set(destinations.files([*names, str(tmp_path / "a.ods")], "csv").values()) == {"csv"}


@pytest.mark.parametrize("name", ["a.ods", "a.gz", "a.json", "a.parq"])
def test_a_name_that_promises_something_else_is_refused(tmp_path, name):
    with pytest.raises(
        UsageError,
        match=r"names no format. Give --format, or use one of .parquet, .csv, .ndjson, .jsonl, .duckdb, .xlsx",
    ):
        destinations.files([str(tmp_path / name)], None)


def test_only_text_can_be_compressed(tmp_path):
    with pytest.raises(UsageError, match="only CSV and NDJSON are compressed with gzip"):
        destinations.files([str(tmp_path / "a.parquet.gz")], None)


def test_a_file_that_is_given_twice_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is given twice"):
        destinations.files([str(tmp_path / "a.csv"), f"{tmp_path}/./a.csv"], None)


def test_an_option_is_no_file():
    with pytest.raises(UsageError, match=r"--output needs a file, and --raw is an option. A file .* is ./--raw"):
        destinations.files(["--raw"], None)


@pytest.mark.parametrize("url", ["mysql://u@h/db", "s3://bucket/a.parquet", "postgresql+psycopg://h/db"])
def test_a_url_of_another_kind_is_no_file(url):
    with pytest.raises(
        UsageError, match=r"cannot write to \w[\w+]*://\.\.\. Give a file, or a database as postgresql://"
    ):
        destinations.files([url], None)


def test_standard_output_goes_alone():
    assert destinations.to_standard_output(["-"])
    assert not destinations.to_standard_output(["a", "b"])
    with pytest.raises(UsageError, match="cannot be combined"):
        destinations.to_standard_output(["a", "-"])


def test_standard_output_that_is_closed_is_no_destination(monkeypatch):
    monkeypatch.setattr(output, "closed", {"stdout"})
    with pytest.raises(UsageError, match="Standard output is closed, so nothing would get the worklogs"):
        destinations.to_standard_output(["-"])


def test_only_text_is_streamed():
    assert [destinations.streamed(one) for one in (None, "ndjson", "csv")] == ["ndjson", "ndjson", "csv"]
    with pytest.raises(UsageError, match="--format parquet needs a file"):
        destinations.streamed("parquet")


async def write(path, *pieces):
    with destinations.open_file(path) as file:
        for piece in pieces:
            await file.write(piece)


async def test_a_file_appears_when_it_is_complete_private_and_alone(tmp_path):
    path = tmp_path / "out.ndjson"
    path.write_bytes(b"before")
    with destinations.open_file(path) as file:
        await file.write(b"after" * 100_000)
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after" * 100_000
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


async def test_a_file_is_compressed_where_its_name_says_so_and_the_loop_goes_on(tmp_path):
    turns, data = 0, os.urandom(1 << 19)

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(count())
    await write(tmp_path / "a.csv.gz", data, b"end")
    task.cancel()
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()) == data + b"end"
    assert turns >= 8


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError, SystemExit])
async def test_an_early_end_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path, kind):
    path = tmp_path / "out.ndjson"
    path.write_bytes(b"before")
    with pytest.raises(kind):  # noqa: PT012, SIM117 - the exception goes through the file
        with destinations.open_file(path) as file:
            await file.write(b"half")
            raise kind
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


class Full(io.BytesIO):
    """A file on a disk that is full."""

    def write(self, _data):
        raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_full_disk_is_a_storage_error_that_names_the_file(tmp_path):
    with pytest.raises(StorageError, match=r"cannot write .*out: No space left on device\. Free some space"):
        await destinations.File(tmp_path / "out", Full()).write(b"x")


async def test_the_longest_name_has_room_for_the_name_beside_it(tmp_path):
    target = tmp_path / ("x" * 255)
    await write(target, b"x")
    assert list(tmp_path.iterdir()) == [target]


def test_a_missing_folder_is_named_before_anything_is_written(tmp_path):
    with pytest.raises(UsageError, match=r"The folder .*nowhere does not exist. Create it"):
        destinations.check(tmp_path / "nowhere" / "out.csv")


def test_a_symbolic_link_is_refused(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    with pytest.raises(UsageError, match="is a symbolic link"):
        destinations.check(link)


@pytest.mark.parametrize("make", ["folder", "socket"])
def test_what_is_not_a_file_is_refused(tmp_path, make, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    if make == "folder":
        os.mkdir("it")  # noqa: PTH102
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("it")
    with pytest.raises(UsageError, match=r"it is not a file\. Name a file"):
        destinations.check(Path("it"))


@pytest.mark.parametrize("name", ["fifo", "/dev/null", "/dev/stdout", "substitution", "link"])
def test_a_pipe_or_a_device_is_refused_with_the_name_of_standard_output(tmp_path, name):
    ours, theirs = os.pipe()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    if name == "/dev/stdout" and stat.S_ISREG(Path(name).stat().st_mode):
        pytest.skip("standard output is a file")
    path = Path(f"/dev/fd/{theirs}" if name == "substitution" else tmp_path / name)
    with pytest.raises(UsageError, match=r"is a pipe or a device, not a file.* Give --output -, and let the shell"):
        destinations.check(path)
    os.close(ours)
    os.close(theirs)


def test_a_name_that_is_too_long_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="File name too long"):
        destinations.check(tmp_path / ("x" * 300))


async def test_standard_output_gets_the_bytes_in_order(capsysbinary):
    for piece in ("é\n".encode(), b"two\n"):
        await destinations.StandardOutput().write(piece)
    assert capsysbinary.readouterr().out == "é\ntwo\n".encode()


async def test_a_reader_of_standard_output_that_is_gone_is_told_to_who_writes(monkeypatch):
    def gone(data):
        raise BrokenPipeError

    monkeypatch.setattr(output, "write", gone)
    with pytest.raises(BrokenPipeError):
        await destinations.StandardOutput().write(b"one")


async def test_a_slow_reader_of_standard_output_does_not_stop_the_event_loop(monkeypatch):
    written, read = [], threading.Event()

    def slow(data):
        read.wait()
        written.append(data)

    monkeypatch.setattr(output, "write", slow)
    task = asyncio.create_task(destinations.StandardOutput().write(b"one"))
    await asyncio.sleep(0)  # the loop still runs while nobody reads
    assert written == []
    read.set()
    await task
    assert written == [b"one"]

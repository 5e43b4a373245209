"""The emulator as a program, ``python -m tracket_async.emulator``, which needs the core dependencies alone."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import re
import shlex
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from tracket_async.emulator.faults import FaultFileError, Script, read_rules
from tracket_async.emulator.seeding import Sample, SeedError
from tracket_async.emulator.server import Emulator
from tracket_async.emulator.settings import options as settings_options
from tracket_async.emulator.store import StoreError

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_DONE: Final = 0
_USAGE: Final = 2
_FIRST_OF_ENV: Final = b"TRACKET_BASE_URL=http://"
"""How an env file of an emulator begins. The address of a real server begins with https."""


def main(argv: Sequence[str] | None = None, *, formatter: type[argparse.HelpFormatter] = argparse.HelpFormatter) -> int:
    """Serve until SIGINT or SIGTERM.

    Args:
        argv: The arguments after the program's name; None takes those of the process.
        formatter: Writes the help.

    Returns:
        0 when it was stopped; 2 when an argument, a file or the address cannot be used, with one line on
        standard error that says why.
    """
    options = _parser(formatter).parse_args(argv)
    # What is ignored, as by nohup and in the background of a script, stays ignored.
    heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _interrupt) for number in heeded}
    try:
        emulator = _emulator(options)
        asyncio.run(_serve(emulator, options, heeded))
        if options.request_log is not None:
            write_private_file(options.request_log, "".join(f"{entry.as_json()}\n" for entry in emulator.request_log))
    except KeyboardInterrupt:
        return _DONE  # while it was still starting
    except (FaultFileError, SeedError, StoreError, ValueError, OSError) as error:
        sys.stderr.write(f"tracket emulator: {error}\n")
        return _USAGE
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return _DONE


def shell_lines(settings: Mapping[str, str]) -> str:
    """Return one ``export NAME=value`` a line, quoted for a POSIX shell."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())


def write_env_file(path: Path, settings: Mapping[str, str]) -> None:
    """Write one ``NAME=value`` a line, into a new file or in place of one that an emulator has written.

    Raises:
        ValueError: Another file is there. It may have the only copy of a secret, because the env file that other
            commands read has the same option.
        OSError: As `write_private_file`.
    """
    if path.is_file():
        with path.open("rb") as file:
            first = file.readline()
        if first.strip() and not first.startswith(_FIRST_OF_ENV):
            raise ValueError(
                f"{path} is there, and no emulator has written it, so it is not replaced. Give --env-file another name"
            )
    write_private_file(path, "".join(f"{name}={value}\n" for name, value in settings.items()))


def write_private_file(path: Path, text: str) -> None:
    """Write a file that its owner alone can read.

    The file is written beside its place and renamed into it, so that a reader sees all of it or the old one, and
    so that its mode never was any other.

    Raises:
        OSError: It cannot be written, or `path` is a symbolic link, which is not followed.
    """
    if path.is_symlink():
        raise OSError(f"{path} is a symbolic link; give the path of the file itself")
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End with one line, which shows no value."""
        shown = re.sub(r"invalid (?:(int|float|\w+) value|choice): .*?( \(choose from .*\))?$", _wrong, message)
        shown = re.sub(r"unrecognized arguments: .*", "an argument is not known", shown)
        self.exit(_USAGE, f"{self.prog}: {shown}. See {self.prog} --help\n")


def _wrong(found: re.Match[str]) -> str:
    return (
        f"must be one of these{found[2]}"
        if found[2]
        else "must be a whole number"
        if found[1] == "int"
        else ("must be a number")
    )


def _parser(formatter: type[argparse.HelpFormatter] = argparse.HelpFormatter) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="tracket emulator",
        formatter_class=formatter,
        description="A server that behaves like Tracket, for both versions of its API.",
    )
    content = parser.add_argument_group("worklogs")
    content.add_argument(
        "--seed",
        type=Path,
        metavar="FILE",
        help="worklogs that tracket export has written as NDJSON or CSV, or of the 1.0 shape, one JSON object a line",
    )
    content.add_argument("--sample", type=int, metavar="N", help="N worklogs of a made-up company")
    content.add_argument("--sample-seed", type=int, default=0, metavar="N", help="another number, another company")
    content.add_argument("--skew-month", metavar="YYYY-MM", help="half of the sample falls into this month")
    content.add_argument("--db", type=Path, metavar="PATH", help="keep the worklogs in this file, not in memory")

    behaviour = parser.add_argument_group("behaviour")
    for each in settings_options():
        behaviour.add_argument(f"--{each.name.replace('_', '-')}", default=each.default, **each.metadata)
    behaviour.add_argument("--faults", type=Path, metavar="FILE", help="a script of faults, JSON or one rule a line")
    behaviour.add_argument("--fault-seed", type=int, default=0, metavar="N", help="seed of faults at random")
    behaviour.add_argument(
        "--request-log", type=Path, metavar="FILE", help="write the received requests here at the end, mode 0600"
    )

    address = parser.add_argument_group("address")
    address.add_argument("--host", default="127.0.0.1", help="address to listen on, loopback by default")
    address.add_argument("--port", type=int, default=0, help="port to listen on; 0, the default, takes a free one")
    address.add_argument("--api", choices=("2.0", "1.0"), default="2.0", help="version that the printed settings name")
    address.add_argument("--env-file", type=Path, metavar="PATH", help="write the settings here, mode 0600")
    return parser


def _emulator(options: argparse.Namespace) -> Emulator:
    if options.sample is None and (options.skew_month is not None or options.sample_seed):
        raise ValueError("--skew-month and --sample-seed are about a sample: give --sample N")
    sample = None
    if options.sample is not None:
        sample = Sample(count=options.sample, seed=options.sample_seed, skew_month=options.skew_month)
    return Emulator(
        seed=options.seed,
        sample=sample,
        db=options.db,
        host=options.host,
        port=options.port,
        faults=_script(options),
        **{each.name: getattr(options, each.name) for each in settings_options()},
    )


def _script(options: argparse.Namespace) -> Script:
    script = Script(seed=options.fault_seed)
    if options.faults is not None:
        try:
            rules = read_rules(options.faults.read_text(encoding="utf-8"))
        except (FaultFileError, UnicodeDecodeError) as error:
            raise FaultFileError(f"{options.faults}, {error}") from None
        for rule in rules:
            script.add_rule(rule)
    return script


async def _serve(emulator: Emulator, options: argparse.Namespace, heeded: Sequence[signal.Signals]) -> None:
    async with emulator:
        if not _is_loopback(options.host):
            sys.stderr.write(
                f"tracket emulator: warning: {options.host} lets other machines in; the credentials are no secret\n"
            )
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def end(_number: int, _frame: FrameType | None) -> None:
            if not loop.is_closed():  # a second signal, while the request log is written
                loop.call_soon_threadsafe(stop.set)

        for number in heeded:
            signal.signal(number, end)
        if options.env_file is not None:
            write_env_file(options.env_file, emulator.env(options.api))
        sys.stdout.write(_greeting(emulator, options.api))
        sys.stdout.flush()
        await stop.wait()


def _greeting(emulator: Emulator, api: str) -> str:
    settings = emulator.env("1.0" if api == "1.0" else "2.0")
    lines = f"# Tracket emulator at {emulator.url} with {emulator.count:,} worklogs; Ctrl-C stops it\n"
    lines += shell_lines(settings)
    if "TRACKET_TOKEN" not in settings:
        lines += "# or, in place of the last three, a token that both versions accept:\n"
        lines += f"# {shell_lines({'TRACKET_TOKEN': emulator.token})}"
    return lines


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

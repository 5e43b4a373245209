"""Take pictures of commands at a terminal, of an emulator with made-up worklogs: python docs/pictures.py."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console
from rich.text import Text

FOLDER: Final = Path(__file__).parent / "pages" / "pictures"
WIDTH: Final = 100
COMMANDS: Final = {
    "list": "tracket list --month 2026-10 --limit 8",
    "report": "tracket report company.duckdb --since 2026-01-01",
    "check": "tracket check",
}
"""The commands of which there is a picture, by its name."""
FONTS: Final = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
"""The parts of rich's pictures that load a font from another server."""
TERMINAL: Final = {"COLUMNS": str(WIDTH), "LINES": "50", "TERM": "xterm-256color"}


def shown(command: str, folder: str) -> str:
    """Return what a command writes to a terminal, with its colours."""
    end, terminal = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-c", f"set -a; . ./tracket.env; {command}"],
        cwd=folder,
        env={**os.environ, **TERMINAL},
        stdout=terminal,
        stderr=subprocess.DEVNULL,
    )
    os.close(terminal)
    written = bytearray()
    try:
        while part := os.read(end, 65536):
            written += part
    except OSError:  # EIO: nobody has the terminal open any more
        pass
    os.close(end)
    if process.wait():
        raise SystemExit(f"{command} ended with {process.returncode}")
    return written.decode().replace("\r", "")


def picture(name: str, command: str, text: str) -> str:
    """Return the picture of a terminal after a command, which has written this text."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text(f"$ {command}", style="bold"))
    console.print(Text.from_ansi(text.rstrip()))
    return FONTS.sub("", console.export_svg(title="", unique_id=f"terminal-{name}"))


def main() -> None:
    """Write the pictures."""
    with TemporaryDirectory() as folder:
        serve = ("tracket", "emulator", "--sample", "5000", "--env-file", "tracket.env")
        with subprocess.Popen(serve, cwd=folder, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            server.stdout.readline()  # it is printed when the settings are written
            shown("tracket export --store company.duckdb --output all.csv", folder)
            for name, command in COMMANDS.items():
                (FOLDER / f"terminal-{name}.svg").write_text(
                    picture(name, command, shown(command, folder)), encoding="utf-8"
                )
            server.terminate()


if __name__ == "__main__":
    main()

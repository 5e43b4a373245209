"""A process that ends a PostgreSQL server when the one that started it is gone, however it ended.

It waits for the end of its standard input, which the system closes with the process that holds the other end, also
after a SIGKILL; then it stops the server whose data are in this folder at once (SIGQUIT), and removes the folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def stopped_with_this_process(data: Path) -> Iterator[None]:
    """Start the process, and end it with the block."""
    with subprocess.Popen([sys.executable, __file__, data], stdin=subprocess.PIPE):
        yield


def main(data: Path) -> None:
    """Wait for the end of standard input, and stop the server if it still runs."""
    sys.stdin.buffer.read()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGQUIT)
        shutil.rmtree(data.parent, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""``python -m tracket_async.cli.emulating``: an emulator that ends with whoever started it, even if that was killed.

It holds the other end of our standard input, and never writes to it: the end of the input is its end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from tracket_async.emulator.__main__ import main


def end_with(descriptor: int) -> None:
    """Reads to the end of the input, then asks this process to end as SIGTERM does."""
    while os.read(descriptor, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    sys.exit(main())

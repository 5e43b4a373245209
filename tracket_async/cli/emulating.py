"""``python -m tracket_async.cli.emulating``: an emulator that ends with whoever started it, even if that was killed.

It holds the other end of our standard input, and never writes to it: the end of the input is its end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from tracket_async.emulator.__main__ import main


def _outlive_nobody() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_outlive_nobody, daemon=True).start()
    sys.exit(main())

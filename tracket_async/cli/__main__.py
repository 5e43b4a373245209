"""``python -m tracket_async.cli``: the same as ``tracket``."""

from __future__ import annotations

import sys

from tracket_async.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())

"""The command line ``tracket``."""

from tracket_async.cli.entry import main

__all__ = ["main"]

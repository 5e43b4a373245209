"""The door for people: the command ``tracket``."""

from tracket_async.cli.entry import main

__all__ = ["main"]

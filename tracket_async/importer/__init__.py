"""Writes in bulk that come from files: an import with a journal, and changes and deletions, which need none."""

from __future__ import annotations

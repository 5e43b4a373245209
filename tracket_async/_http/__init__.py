"""One HTTP request: how it is authorized, queued, sent, classified and retried. It has never heard of a worklog."""

from __future__ import annotations

"""One request: how it is authorised, queued, sent, judged and repeated. Nothing here has heard of a worklog."""

from __future__ import annotations

"""The API's requests and responses: requests out, models in. Nothing here awaits, opens a socket or reads a clock."""

from __future__ import annotations

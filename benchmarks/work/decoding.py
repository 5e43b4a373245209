"""One page of bytes to models, by each decoder in turn, in one process: all see the same moment of the machine.

The figures are microseconds of CPU a page. A decoder that is not installed has no figure.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from typing import Any

from benchmarks import data
from benchmarks.child import Meter

Decode = Callable[[bytes], Any]
ODDITIES = ("unknown field", "five unknown fields", "null user", "numbers in strings")
"""The decoder of tracket-async, whose pages have this in every worklog."""


def compare(meter: Meter, *, api: str, decoders: list[str], pages: int, turns: int) -> int:
    """Let every decoder read every page, as often as there are turns."""
    worklogs = data.make(pages * data.PAGE, api=api)
    bodies = [data.page(worklogs, first, api=api) for first in range(0, pages * data.PAGE, data.PAGE)]
    items = "worklogs" if api == "1.0" else "items"
    chosen = {name: DECODERS[name](api) for name in decoders}
    read = {name: [_with(name, body, items) for body in bodies] if name in ODDITIES else bodies for name in chosen}
    spent = dict.fromkeys(chosen, 0.0)
    for name, decode in chosen.items():
        decode(read[name][0])
    with meter:
        for _ in range(turns):
            for name, decode in chosen.items():
                begun = time.process_time()
                for body in read[name]:
                    decode(body)
                spent[name] += time.process_time() - begun
    meter.figures = {name: seconds / (turns * pages) * 1e6 for name, seconds in spent.items()}
    return pages * data.PAGE


def _with(oddity: str, body: bytes, items: str) -> bytes:
    page = json.loads(body)
    for worklog in page[items]:
        user, minutes = (name for name in ("userId", "user", "worklogMinutes", "minutes") if name in worklog)
        if oddity == "null user":
            worklog[user] = None
        elif oddity == "numbers in strings":
            worklog[minutes] = str(worklog[minutes])
        else:
            worklog.update({f"unknown{number}": "value" for number in range(5 if oddity.startswith("five") else 1)})
    return json.dumps(page, ensure_ascii=False, separators=(",", ":")).encode()


def _tracket_async(api: str) -> Decode:
    from tracket_async._http.messages import Response
    from tracket_async.client import API_VERSIONS  # measured only if it is asked for, like those below

    api_version = API_VERSIONS[api]()
    headers = {"Content-Type": "application/json", "Date": "Sun, 01 Nov 2026 09:00:00 GMT"}
    return lambda body: api_version.page(Response(200, headers, body))


def _orjson(_api: str) -> Decode:
    loads: Decode = importlib.import_module("orjson").loads
    return loads


def _pydantic(api: str) -> Decode:
    from benchmarks.work.pydantic_models import PAGES

    return PAGES[api].model_validate_json


def _cattrs(api: str) -> Decode:
    from benchmarks.work.cattrs_models import PAGES, converter

    return lambda body: converter.loads(body, PAGES[api])


DECODERS: dict[str, Callable[[str], Decode]] = {
    "tracket_async": _tracket_async,
    **dict.fromkeys(ODDITIES, _tracket_async),
    "orjson": _orjson,
    "pydantic": _pydantic,
    "cattrs": _cattrs,
}

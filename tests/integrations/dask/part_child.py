"""A process that writes the first part of a plan: run by test_part.py."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import attrs

from tracket_async._http.auth import BearerToken
from tracket_async.client import TracketClient
from tracket_async.integrations.dask.part import write_part
from tracket_async.integrations.dask.plan import kept_plan


async def main(order):
    plan = attrs.evolve(kept_plan(Path(order["folder"])), run=order["run"])
    client = TracketClient(auth=BearerToken(order["token"]), api="2.0", base_url=order["url"])
    async with client:
        result = await write_part(client, plan, 0, order["folder"])
    print(json.dumps(result.to_json()))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.read())))

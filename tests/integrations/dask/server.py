"""An emulator in a process of its own; with a rate, it answers 429 to what is above it.

``python server.py ENV_FILE SAMPLE [RATE]``: writes the settings as JSON when it listens, and runs until it is ended.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from aiohttp import web

from tracket_async.emulator import Emulator
from tracket_async.emulator.app import Api


class Bucket:
    def __init__(self, rate, burst=10):
        self.rate, self.burst, self.tokens, self.at = rate, burst, float(burst), time.monotonic()

    def allows(self):
        now = time.monotonic()
        self.tokens, self.at = min(self.burst, self.tokens + (now - self.at) * self.rate), now
        allowed = self.tokens >= 1
        self.tokens -= allowed
        return allowed


def limit(rate):
    bucket, handle = Bucket(rate), Api.handle

    async def limited(self, request):
        if request.method == "GET" and not bucket.allows():
            return web.json_response({"error": "too many"}, status=429)
        return await handle(self, request)

    Api.handle = limited


def write(file, settings):
    new = file.with_suffix(".new")
    new.write_text(json.dumps(settings))
    new.replace(file)


async def main(file, sample, rate=None):
    if rate is not None:
        limit(float(rate))
    async with Emulator(sample=int(sample)) as emulator:
        write(Path(file), {api: emulator.env(api) for api in ("1.0", "2.0")})
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

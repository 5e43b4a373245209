"""A pipeline that kills itself at a point: while it extracts, or when everything is loaded and not yet noted."""

from __future__ import annotations

import os
import signal
import sys

import dlt

from tracket_async.integrations import dlt as module


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def dying(make, iterate=module._iterate):
    for number, item in enumerate(iterate(make)):
        if number == 1:
            die()
        yield item


def main(point):
    destination = dlt.destinations.duckdb("worklogs.duckdb")
    pipeline = dlt.pipeline("worklogs", pipelines_dir="pipelines", destination=destination, dataset_name="tracket")
    if point == "extract":
        module._iterate = dying
    else:
        destination.client_class.complete_load = die
    pipeline.run(module.tracket_source())


if __name__ == "__main__":
    main(*sys.argv[1:])

"""``tracket check``: compare a server with what this package takes it to be, as a table or as JSON for a bug report."""

from __future__ import annotations

import attrs

from tracket_async.checks import Checks
from tracket_async.cli import output
from tracket_async.cli.exits import ExitCode
from tracket_async.cli.options import DEFAULT, Connection, Json


async def check(*, json: Json = False, connection: Connection = DEFAULT) -> ExitCode:
    """Compare your server with what this program takes it to be; nothing is changed.

    Args:
        json: Print one line of JSON for a bug report, without anything private.
        connection: which server.
    """
    async with connection.client() as client:
        findings = await Checks(client).run()
    if json:
        public = [attrs.asdict(attrs.evolve(each, detail="" if each.private else each.detail)) for each in findings]
        output.json([{"findings": [{name: one[name] for name in ("what", "verdict", "detail")} for one in public]}])
    else:
        output.table(("what", "verdict", "detail"), [(each.what, each.verdict, each.detail) for each in findings])
    return ExitCode.INCOMPLETE if any(each.verdict == "differs" for each in findings) else ExitCode.DONE

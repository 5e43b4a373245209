"""``tracket mcp``: worklogs for assistants, over the Model Context Protocol on standard input and output."""

from __future__ import annotations

import sys

from tracket_async.cli import output
from tracket_async.cli.destinations import STANDARD_OUTPUT
from tracket_async.cli.options import DEFAULT, Connection
from tracket_async.errors import UsageError
from tracket_async.frames import load


async def mcp(*, connection: Connection = DEFAULT) -> None:
    """Serve worklogs to an assistant over the Model Context Protocol (MCP), read-only.

    It is started by the program that has the assistant, and speaks with it on standard input and output. In that
    program's configuration:

    ```json
    {
      "mcpServers": {
        "tracket": {
          "command": "/home/me/.venv/bin/tracket",
          "args": ["mcp", "--env-file", "/home/me/tracket.env"]
        }
      }
    }
    ```

    Args:
        connection: which server.
    """
    if connection.token_file == STANDARD_OUTPUT:
        raise UsageError("Standard input is for the protocol. Name a file with --token-file, or set TRACKET_TOKEN")
    load("mcp", extra="mcp")
    from tracket_async.integrations.mcp import serve

    client = connection.client()
    if sys.stdin.isatty():
        output.note("An MCP server waits for its client on standard input. See tracket mcp --help.")
    await serve(client)

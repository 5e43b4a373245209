"""Write what is made from the code and from the pages: reference/commands.md and llms.txt.

    python docs/generate.py

Tests fail while they are not what this program writes.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path
from typing import Final
from unittest import mock

DOCS: Final = Path(__file__).parent
PAGES: Final = DOCS / "pages"
COMMANDS: Final = PAGES / "reference" / "commands.md"
LLMS: Final = DOCS / "llms.txt"

SUMMARY: Final = (
    "The asyncio client for Tracket, the time tracking of monday.com teams: one typed client for both versions of its"
    " API, the command `tracket`, and an emulator of the server for tests."
)
BLOCK: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
SHARED: Final = {
    "Selection": "which worklogs",
    "Connection": "the server and the credentials",
}
"""The groups of options that many commands have, and what they are about: they are listed once."""


def commands() -> str:
    """Return the page of every command and option: the content of each ``--help``."""
    from tracket_async.cli.app import app

    with mock.patch.object(sys, "argv", ["tracket"]):  # cyclopts names this program in the usage
        text = app.generate_docs(output_format="markdown")
    text = re.sub(r"## Table of Contents\n.*?(?=\*\*Commands)", "", text, flags=re.DOTALL)
    text = re.sub(r"^```console$", "```text", text, flags=re.MULTILINE)
    text = re.sub(r"\n +(?=\S)", " ", text.partition("\n")[2])  # an option is one line
    shared: dict[str, str] = {}
    for name, about in SHARED.items():
        for options in re.findall(rf"^\*\*{name}\*\*:\n\n((?:\* .*\n)+)", text, re.MULTILINE):
            whole = f"**{name}**:\n\n{options}"
            if shared.setdefault(name, options) == options:
                text = text.replace(whole, f"Options for [{about}](#{name.lower()}), too.\n")
    text = text.replace("), too.\n\nOptions for [", "), and for [")
    ends = "".join(f"\n## {name}\n\nOptions for {SHARED[name]}.\n\n{options}" for name, options in shared.items())
    text = re.sub(r"## tracket emulator\n.*", lambda _: f"## tracket emulator\n\n{emulator()}", text, flags=re.DOTALL)
    return f"# Commands and options\n{text.rstrip()}\n{ends}"


def emulator() -> str:
    """Return the options of ``tracket emulator``, as its ``--help`` has them."""
    from tracket_async.cli.demo import PanelFormatter
    from tracket_async.emulator.__main__ import main

    class Markdown(PanelFormatter):
        """The help of the emulator as Markdown."""

        def format_help(self) -> str:
            """Return the text."""
            usage, *texts = self._texts
            parts = [f"```text\n{usage.removeprefix('Usage: ')}\n```", *texts]
            for heading, rows in self._panels:
                if rows and heading != "Options":  # --help alone
                    parts += [f"**{heading}**:", "\n".join(f"* `{name}`: {said}" for name, said in rows)]
            return "\n\n".join(parts)

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main(["--help"], formatter=Markdown)
    return out.getvalue()


def navigation() -> list[tuple[str, str]]:
    """Return the pages of the navigation, in order: the section (``""`` at the top), and the path in ``pages``."""
    text = (DOCS / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    found, section = [], ""
    for indent, title, path in re.findall(r"^( +)- (?:([^:\n]+):)? ?(\S+\.md)?$", text, re.MULTILINE):
        if indent == "  ":
            section = "" if path else title
        if path:
            found.append((section, path))
    return found


def llms() -> str:
    """Return the list of all pages for language models, see https://llmstxt.org: title, file and first sentence."""
    lines, last = ["# tracket-async", "", f"> {SUMMARY}"], None
    for section, path in navigation():
        if section != last:
            lines += ["", f"## {section or 'Start'}", ""]
            last = section
        text = BLOCK.sub("", (PAGES / path).read_text(encoding="utf-8"))
        (title,) = re.findall(r"^# (.+)$", text, re.MULTILINE)
        (paragraph, *_) = re.findall(r"^(?=[A-Z`[*])(?:.+\n)+", text, re.MULTILINE)
        sentence = re.split(r"(?<=\.)\s", " ".join(paragraph.split()))[0].rstrip(".:")
        plain = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", sentence)
        lines.append(f"- [{title}](pages/{path}): {plain}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the files."""
    COMMANDS.write_text(commands(), encoding="utf-8")
    LLMS.write_text(llms(), encoding="utf-8")


if __name__ == "__main__":
    main()

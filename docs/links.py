"""Check a built site offline: every link and anchor leads somewhere, and no page loads anything from another server.

python docs/links.py docs/site
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

LOADED: Final = {("img", "src"), ("script", "src"), ("link", "href"), ("source", "src"), ("iframe", "src")}
"""What a browser loads by itself."""
IN_STYLES: Final = re.compile(r"""(?:url\(|@import\s+)["']?([^"')\s]+)""")
NOT_LOADED: Final = {"canonical", "next", "prev"}
"""Relations of a ``link`` that a browser does not follow by itself."""


class Page(HTMLParser):
    """The links and anchors of a page.

    Attributes:
        links: each address, and whether a browser loads it by itself.
        anchors: the ids and names to which a link can lead.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[tuple[str, bool]] = []
        self.anchors = {"", "top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the links and anchors of an element."""
        named = {name: value for name, value in attrs if value is not None}
        self.anchors |= {named[name] for name in ("id", "name") if name in named}
        for name in named.keys() & {"href", "src"}:
            loaded = (tag, name) in LOADED and named.get("rel") not in NOT_LOADED
            self.links.append((named[name], loaded))
        self.links += [(address, True) for address in IN_STYLES.findall(named.get("style", ""))]
        if "mermaid" in named.get("class", "").split():
            self.links.append(("https://mermaid (the theme loads it from another server)", True))


def broken(site: Path) -> Iterator[str]:
    """Yield what is wrong, a sentence each, in the order of the pages."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    for path, page in pages.items():
        for address, loaded in page.links:
            parts = urlsplit(address)
            if not (parts.scheme or parts.netloc):
                wrong = nowhere(path, address, pages)
            else:
                wrong = f"loads {address}" if loaded and parts.scheme != "data" else ""
            if wrong:
                yield f"{path.relative_to(site.resolve())}: {wrong}"
    for path in sorted([*site.rglob("*.css"), *site.rglob("*.svg")]):
        for address in IN_STYLES.findall(path.read_text(encoding="utf-8")):
            if urlsplit(address).scheme in {"http", "https"} or address.startswith("//"):
                yield f"{path.relative_to(site)}: loads {address}"


def nowhere(path: Path, address: str, pages: Mapping[Path, Page]) -> str:
    """Return in words that a link of a page leads nowhere, ``""`` when it leads somewhere."""
    parts = urlsplit(address)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if parts.path.startswith("/") or not target.exists():
        return f"{address} leads to no file"
    if target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return f"{address} leads to no anchor"
    return ""


def main(site: Path) -> int:
    """Print what is wrong with a site, and return the exit code: 1 if anything is."""
    wrong = list(broken(site))
    pages = [Page(path) for path in site.rglob("*.html")]
    links = sum(len(page.links) for page in pages)
    print(*wrong, f"{len(pages)} pages, {links} links, {len(wrong)} of them broken", sep="\n")
    return 1 if wrong or not pages else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

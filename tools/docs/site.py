"""What the built site would fetch from elsewhere: nothing is right."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

_FETCHED: Final = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


class _Fetches(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get(_FETCHED.get(tag, ""))
        if address and address.startswith(("http:", "https:", "//")):
            self.found.append(address)


def foreign(site: Path) -> Iterator[str]:
    """Yield each page and address on another host that a browser would fetch with it."""
    for page in sorted(site.rglob("*.html")):
        reader = _Fetches()
        reader.feed(page.read_text(encoding="utf-8"))
        yield from (f"{page.relative_to(site)} fetches {address}" for address in reader.found)

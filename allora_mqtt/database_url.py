"""The address of the database: which ones there are, and where in PostgreSQL a bot's tables lie."""

import hashlib
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

SQLITE: Final = "sqlite:///"
POSTGRESQL: Final = "postgresql+psycopg://"

_MAX_NAME: Final = 63
"""PostgreSQL cuts longer names off, silently."""


def is_postgresql(url: str) -> bool:
    """Tell whether this is the URL of a PostgreSQL database."""
    return url.startswith(POSTGRESQL)


def schema_name(base_topic: str) -> str:
    """Return the schema of the bot with this base topic: `allora_bots/alice` for `bots/alice`.

    No two base topics have the same one: a long name ends in a fingerprint of the whole.
    """
    name = f"allora_{base_topic}"
    if len(name) <= _MAX_NAME:
        return name
    return f"{name[:46]}_{hashlib.sha256(base_topic.encode()).hexdigest()[:16]}"


def in_schema(url: str, base_topic: str) -> str:
    """Return a URL whose connections see the schema of one bot and no other; that of another engine as it is."""
    if not is_postgresql(url):
        return url
    address, _, rest = url.partition("?")
    query = dict(parse_qsl(rest, keep_blank_values=True))
    options = f'{query.get("options", "")} -csearch_path="{schema_name(base_topic)}"'.strip()
    return f"{address}?{urlencode({**query, 'options': options}, quote_via=quote)}"

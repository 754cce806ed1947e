"""The perpetual contracts the simulated exchange lists: a trimmed copy of the real universe of March 2026."""

import json
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class MarginTier:
    """One step of a margin table: from `lower_bound_usd` of notional on, at most `max_leverage`."""

    lower_bound_usd: Decimal
    max_leverage: int


@dataclass(frozen=True)
class Asset:
    """One perpetual contract.

    Attributes:
        index: Its number on the wire; a delisted asset keeps its number.
        name: The coin, e.g. "BTC".
        sz_decimals: Decimals an order size may have.
        max_leverage: The highest leverage that may be set.
        margin_tiers: Tiers for the maintenance margin, lowest bound first.
        is_delisted: Whether trading has ended.
        is_isolated_only: Whether cross margin is not offered.
        is_margin_locked: Whether money set aside for a position cannot be taken out again.
        start_px: The mark price at market time 0, in USD.
        day_volume_usd: Traded notional per day, in USD; sets the depth of the book.
        funding_rate: The base of the hourly funding rate.
        open_interest: Open contracts, in coins.
        meta: The entry of `meta.universe` exactly as the exchange publishes it.
    """

    index: int
    name: str
    sz_decimals: int
    max_leverage: int
    margin_tiers: tuple[MarginTier, ...]
    is_delisted: bool
    is_isolated_only: bool
    is_margin_locked: bool
    start_px: Decimal
    day_volume_usd: Decimal
    funding_rate: Decimal
    open_interest: Decimal
    meta: dict[str, Any]


_MARKET_FIELDS = ("markPx", "dayNtlVlm", "funding", "openInterest")


class Universe:
    """All assets in the exchange's order, by index and by name."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._margin_tables: list[Any] = document["marginTables"]
        self._collateral_token: int = document["collateralToken"]
        tables = {table_id: table["marginTiers"] for table_id, table in self._margin_tables}
        self.assets = tuple(_asset(index, row, tables) for index, row in enumerate(document["assets"]))
        self.live = tuple(asset for asset in self.assets if not asset.is_delisted)
        self._by_name = {asset.name: asset for asset in self.assets}

    @classmethod
    def load(cls) -> "Universe":
        """Read the universe that is shipped with the package."""
        text = resources.files(__package__).joinpath("universe.json").read_text(encoding="utf-8")
        return cls(json.loads(text))

    def by_index(self, index: int) -> Asset | None:
        """The asset with this number on the wire, if there is one."""
        return self.assets[index] if 0 <= index < len(self.assets) else None

    def by_name(self, name: str) -> Asset | None:
        """The asset of this coin, if there is one."""
        return self._by_name.get(name)

    def meta(self) -> dict[str, Any]:
        """The answer to `{"type": "meta"}`."""
        return {
            "universe": [asset.meta for asset in self.assets],
            "marginTables": self._margin_tables,
            "collateralToken": self._collateral_token,
        }


def _asset(index: int, row: dict[str, Any], tables: dict[int, list[dict[str, Any]]]) -> Asset:
    # A table id below 50 is not in the list: it stands for one tier with that leverage.
    tiers = tables.get(row["marginTableId"], [{"lowerBound": "0.0", "maxLeverage": row["maxLeverage"]}])
    return Asset(
        index=index,
        name=row["name"],
        sz_decimals=row["szDecimals"],
        max_leverage=row["maxLeverage"],
        margin_tiers=tuple(MarginTier(Decimal(tier["lowerBound"]), tier["maxLeverage"]) for tier in tiers),
        is_delisted=row.get("isDelisted", False),
        is_isolated_only=row.get("onlyIsolated", False) or "marginMode" in row,
        is_margin_locked=row.get("marginMode") == "strictIsolated",
        start_px=Decimal(row["markPx"]),
        day_volume_usd=Decimal(row["dayNtlVlm"]),
        funding_rate=Decimal(row["funding"]),
        open_interest=Decimal(row["openInterest"]),
        meta={key: value for key, value in row.items() if key not in _MARKET_FIELDS},
    )

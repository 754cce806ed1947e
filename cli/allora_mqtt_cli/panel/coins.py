"""The list of coins: those that are traded, then those that could be."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from allora_mqtt.protocol.commands import Switch
from allora_mqtt.protocol.messages import CatalogMatch, CryptoState, Direction, Position
from allora_mqtt_cli.commands.cryptos import Where


@dataclass(frozen=True, slots=True)
class Coin:
    """One line of the list.

    Attributes:
        is_active: whether the bot says that it trades it.
        wanted: what the user asked for and the bot has not confirmed.
        topic_id: of an active coin the one in use, else the catalog's default.
        availability: None until the catalog is there.
    """

    symbol: str
    is_active: bool
    wanted: Switch | None
    topic_id: int | None
    availability: str | None
    max_leverage: int | None
    price: Decimal | None
    volume_24h_usd: Decimal | None
    prediction: Decimal | None
    gap_pct: Decimal | None
    signal: Direction | None
    skill_pct: Decimal | None
    position: Position | None

    @property
    def is_in_use(self) -> bool:
        """Whether it is traded, or has a position yet."""
        return self.is_active or self.position is not None


def listing(
    active: Mapping[str, int],
    states: Mapping[str, CryptoState],
    catalog: Mapping[str, CatalogMatch],
    wanted: Mapping[str, Switch],
) -> list[Coin]:
    """Return every coin: those in use by name, the others by volume.

    Args:
        active: the active set with its topics.
        states: what the bot says of single coins.
        catalog: what can be traded and predicted.
        wanted: switches that the bot has not confirmed.
    """
    coins = [
        _coin(symbol, active, states.get(symbol), catalog.get(symbol), wanted.get(symbol))
        for symbol in active.keys() | states.keys() | catalog.keys()
    ]
    return sorted(coins, key=_place)


def matching(coins: Iterable[Coin], search: str, platform: Where) -> list[Coin]:
    """Return the coins whose symbol holds the text, on the platform; of which that is not known yet they are kept."""
    text = search.strip().casefold()
    return [
        coin
        for coin in coins
        if text in coin.symbol.casefold()
        and (platform is Where.ALL or coin.availability is None or coin.availability == platform)
    ]


def _coin(
    symbol: str, active: Mapping[str, int], state: CryptoState | None, entry: CatalogMatch | None, wanted: Switch | None
) -> Coin:
    default_topic_id = entry.topics[0].id if entry and entry.topics else None
    return Coin(
        symbol=symbol,
        is_active=symbol in active,
        wanted=wanted,
        topic_id=active.get(symbol, default_topic_id),
        availability=entry.availability if entry else None,
        max_leverage=entry.max_leverage if entry else None,
        price=state.price if state else entry.price if entry else None,
        volume_24h_usd=state.volume_24h if state else entry.volume_24h if entry else None,
        prediction=state.prediction if state else None,
        gap_pct=state.gap_pct if state else None,
        signal=state.signal if state else None,
        skill_pct=state.skill_pct if state else None,
        position=state.position if state else None,
    )


def _place(coin: Coin) -> tuple[bool, Decimal, str]:
    volume = Decimal(0) if coin.is_in_use else coin.volume_24h_usd or Decimal(0)
    return (not coin.is_in_use, -volume, coin.symbol)

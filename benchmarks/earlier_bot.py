"""The earlier bot's trading loop, modelled from what is known of it: no line of it, only its constants.

One coin after another, one request after another, a new connection for each: the positions of the account, the oracle
price, the prediction. Then a pause of 300 s (`CHECK_FOR_TRADES`), in which nothing is looked at, commands included. The
reviewers it asked before an entry, and its order, are left out here, in its favour.
"""

import json
from collections.abc import Sequence
from time import perf_counter
from typing import Final
from urllib.request import Request, urlopen

PAUSE_S: Final = 300.0
ACCOUNT: Final = "0x00000000000000000000000000000000000000ea"
WEIGHT_PER_COIN: Final = 22
"""Of HyperLiquid: `clearinghouseState` 2, `metaAndAssetCtxs` (where the oracle price is) 20."""
_PREDICTION: Final = "/v2/allora/consumer/ethereum-11155111?allora_topic_id=14"


def loop(url: str, coins: Sequence[str]) -> float:
    """Go once through these coins; returns how long that took, s."""
    started = perf_counter()
    for _ in coins:
        _post(f"{url}/info", {"type": "clearinghouseState", "user": ACCOUNT})
        _post(f"{url}/info", {"type": "metaAndAssetCtxs"})
        _answer(Request(f"{url}{_PREDICTION}", headers={"x-api-key": "any"}))
    return perf_counter() - started


def _post(url: str, body: dict[str, str]) -> None:
    _answer(Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"}))


def _answer(request: Request) -> None:
    with urlopen(request, timeout=20) as answer:
        json.load(answer)

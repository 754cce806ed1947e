"""Allora's chain over its REST: the same inferences without a key, for when the API fails or nobody has one for it.

The chain gives a value and the height of the block in which its epoch began, and no time. The time is that block's, and
the block also says which chain it belongs to. A value whose block the node does not have any more is not used: how old
it is cannot be known.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from allora_mqtt.market.allora import AlloraClient, read_bounded
from allora_mqtt.market.predictions import Inference, Interval, Origin, intervals
from allora_mqtt.market.wire import quoted, to_decimal, to_int, to_time_s
from allora_mqtt.protocol.errors import BotError, ErrorCode

log = logging.getLogger(__name__)

_VERSIONS: Final = ("v10", "v9")
"""Of the emissions module: testnet has the newer one, mainnet the older."""
_UNKNOWN_PATH: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.NOT_IMPLEMENTED})
_API_RESTS_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class ChainValue:
    """A topic's latest value on the chain.

    Attributes:
        height: of the block in which its epoch began.
    """

    value: Decimal
    interval_68: Interval | None
    interval_95: Interval | None
    height: int


def parse_chain_value(payload: object, topic_id: int) -> ChainValue:
    """Read the answer to `latest_network_inferences`, of either version.

    Raises:
        BotError: PREDICTION_UNAVAILABLE, for anything but one finite value of that topic with its block.
    """
    answer = payload if isinstance(payload, Mapping) else {}
    bundle = answer.get("network_inferences")
    if not isinstance(bundle, Mapping):
        raise _unavailable(f"The chain has no inference for topic {topic_id} yet; it is asked again later.")
    try:
        answered, height = to_int(bundle.get("topic_id")), to_int(answer.get("inference_block_height"))
        value = to_decimal(_single(bundle.get("combined_value")))
    except ValueError as error:
        raise _unavailable(f"The chain's value for topic {topic_id} cannot be read ({quoted(error)}).") from None
    if answered != topic_id:
        raise _unavailable(f"The chain answered with topic {answered} when topic {topic_id} was asked for.")
    if height == 0:
        raise _unavailable(f"The chain does not say of which block its value for topic {topic_id} is; it is not used.")
    inner, outer = intervals(
        answer.get("confidence_interval_raw_percentiles"), answer.get("confidence_interval_values")
    )
    return ChainValue(value, inner, outer, height)


def _single(raw: object) -> object:
    """Return a value as v9 gives it, or the only one of the labelled values of v10.

    Raises:
        ValueError: there are several, as for a classification.
    """
    if not isinstance(raw, list):
        return raw
    if len(raw) != 1 or not isinstance(raw[0], Mapping):
        raise ValueError(f"{len(raw)} labelled values where one is wanted")
    return raw[0].get("value")


def parse_block_time(payload: object, height: int, chain: str) -> float:
    """Read when a block was made.

    Args:
        payload: the answer to a request for the block.
        height: the block that was asked for.
        chain: the chain it must belong to.

    Returns:
        Unix seconds, whole.

    Raises:
        BotError: PREDICTION_UNAVAILABLE, for another block, another chain, or no time.
    """
    block = payload.get("block") if isinstance(payload, Mapping) else None
    header = block.get("header") if isinstance(block, Mapping) else None
    if not isinstance(header, Mapping):
        raise _unavailable(f"The chain did not show block {height}, so the age of its value is not known: not used.")
    if header.get("chain_id") != chain:
        found = quoted(header.get("chain_id"))
        raise _unavailable(f"ALLORA_CHAIN_URL leads to the chain {found!r} and not to {chain}; set the right one.")
    try:
        made, answered = datetime.fromisoformat(str(header.get("time"))), to_int(header.get("height"))
        at = to_time_s(int(made.timestamp()))
    except (ValueError, OverflowError) as error:
        raise _unavailable(f"Block {height} of the chain cannot be read ({quoted(error)}).") from None
    if answered != height or made.tzinfo is None:
        raise _unavailable(f"The chain answered with another block than {height}, or one without a time: not used.")
    return at


class AlloraChain:
    """A client for the REST of one chain.

    Args:
        base_url: without a path, such as `https://allora-api.mainnet.allora.network`.
        chain: `allora-testnet-1` or `allora-mainnet-1`; values of another one are refused.
        timeout_s: for each request as a whole.
        session: the caller's session, whose connections are pooled.
    """

    def __init__(self, base_url: str, chain: str, timeout_s: float, session: aiohttp.ClientSession) -> None:
        self._base_url = base_url.rstrip("/")
        self._chain = chain
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session = session
        self._versions: tuple[str, ...] = _VERSIONS
        self._blocks: dict[int, tuple[int, float]] = {}

    async def inference(self, topic_id: int) -> Inference:
        """The latest inference of a topic, with the time of its block.

        Raises:
            BotError: PREDICTION_UNAVAILABLE, with what to do.
        """
        found = parse_chain_value(await self._latest(topic_id), topic_id)
        at = await self._time_of(topic_id, found.height)
        return Inference(topic_id, found.value, found.interval_68, found.interval_95, at, Origin.CHAIN)

    async def _latest(self, topic_id: int) -> object:
        for version in self._versions:
            answer = await self._get(f"/emissions/{version}/latest_network_inferences/{topic_id}", f"topic {topic_id}")
            if answer is not None:
                # The one that answered is asked first from now on.
                self._versions = (version, *(other for other in _VERSIONS if other != version))
                return answer
        raise _unavailable(f"The chain has no inference for topic {topic_id}; check ALLORA_CHAIN_URL.")

    async def _time_of(self, topic_id: int, height: int) -> float:
        known = self._blocks.get(topic_id)
        if known is not None and known[0] == height:
            return known[1]
        answer = await self._get(f"/cosmos/base/tendermint/v1beta1/blocks/{height}", f"block {height}")
        at = parse_block_time(answer, height, self._chain)
        self._blocks[topic_id] = (height, at)
        return at

    async def _get(self, path: str, what: str) -> object:
        """Ask for something; None where the server does not know the path or the thing."""
        try:
            async with self._session.get(
                self._base_url + path,
                headers={"Accept": "application/json"},
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                if response.status in _UNKNOWN_PATH:
                    return None
                if response.status != HTTPStatus.OK:
                    raise _unavailable(f"Allora's chain failed to give {what} (HTTP {response.status}).")
                found: Any = json.loads(await read_bounded(response.content))
        except TimeoutError:
            raise _unavailable(
                f"Allora's chain did not answer about {what} in time; it is asked again later."
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            kind = type(error).__name__
            raise _unavailable(f"Allora's chain could not be asked about {what} ({kind}).") from None
        except (ValueError, RecursionError):
            raise _unavailable(f"The chain's answer about {what} is not JSON; check ALLORA_CHAIN_URL.") from None
        return found


class AlloraWithChain:
    """The API first, and the chain where that fails.

    Args:
        api: the API, or None where there is no key for it.
        chain: the chain's REST.
        clock: monotonic seconds.
    """

    def __init__(self, api: AlloraClient | None, chain: AlloraChain, clock: Callable[[], float]) -> None:
        self._api = api
        self._chain = chain
        self._clock = clock
        self._rests_until: dict[int, float] = {}

    async def topics(self) -> list[dict[str, Any]]:
        """Every topic that the API names; without the API none, and those of `ALLORA_TOPICS` are all there are.

        Raises:
            BotError: PREDICTION_UNAVAILABLE.
        """
        return [] if self._api is None else await self._api.topics()

    async def inference(self, topic_id: int) -> Inference:
        """The latest inference of a topic; after a failure of the API it is asked for it again a minute later.

        Raises:
            BotError: PREDICTION_UNAVAILABLE, when neither gave one.
        """
        why = ""
        if self._api is not None and self._clock() >= self._rests_until.get(topic_id, 0.0):
            try:
                found = await self._api.inference(topic_id)
            except BotError as error:
                why = error.message
                if topic_id not in self._rests_until:
                    log.warning("Topic %s is read from the chain: %s", topic_id, why)
                self._rests_until[topic_id] = self._clock() + _API_RESTS_S
            else:
                self._rests_until.pop(topic_id, None)
                return found
        try:
            return await self._chain.inference(topic_id)
        except BotError as error:
            raise _unavailable(f"{why} {error.message}".strip()) from error


def _unavailable(message: str) -> BotError:
    return BotError(ErrorCode.PREDICTION_UNAVAILABLE, message)

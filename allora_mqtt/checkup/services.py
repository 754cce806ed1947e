"""What the exchange and Allora say: network, key, account, clock, budget and topics. Reads only."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import aiohttp

from allora_mqtt.checkup.findings import Finding, Verdict
from allora_mqtt.checkup.postgresql import examine_postgresql
from allora_mqtt.market.allora import AlloraClient
from allora_mqtt.market.catalog import parse_configured_topics, topics_from_api
from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.market.keys import KeyStanding, look_at_key, warnings_of
from allora_mqtt.market.wire import to_int
from allora_mqtt.protocol.errors import BotError, WarningCode
from allora_mqtt.settings import Network, Settings
from allora_mqtt.surroundings import CannotStart, Exchange, find_exchange, upstream_url

_NOBODY: Final = "0x" + "0" * 40
_WRONG_CLOCK_S: Final = 5
_SPENT: Final = 1.0
_NEARLY_SPENT: Final = 0.9
_FEW_DAYS: Final = 3
_DAY_S: Final = 86_400

_Check = Callable[[], Awaitable[list[Finding]]]


def examine_services(settings: Settings) -> list[Finding]:
    """Judge what lies outside this machine; takes as long as the slowest answer."""
    return [*examine_postgresql(settings), *asyncio.run(_examine(settings))]


async def _examine(settings: Settings) -> list[Finding]:
    network = settings.bot.network
    if network is Network.SIM and settings.hl.base_url is None:
        return [
            Finding("network", Verdict.GOOD, "sim: exchange and predictions come with the bot, no money is at stake")
        ]
    try:
        exchange = await _exchange(settings)
    except CannotStart as error:
        return [Finding("network", Verdict.BAD, str(error), "Mend this setting; the other services were not asked.")]
    door = Hyperliquid(
        base_url=exchange.hyperliquid_url if exchange else upstream_url(settings),
        timeout_s=settings.hl.timeout_s,
        account_address=exchange.account_address if exchange else _NOBODY,
        wallet=None,
        vault_address=exchange.vault_address if exchange else None,
        clock=time.time,
    )
    async with aiohttp.ClientSession() as session:
        checks: list[tuple[str, _Check]] = [("exchange", lambda: _reachable(settings, door))]
        if exchange is not None:
            checks += [
                ("key", lambda: _key(door, exchange)),
                ("account", lambda: _account(door, exchange)),
                ("request budget", lambda: _budget(door, exchange)),
            ]
        checks.append(("allora", lambda: _allora(settings, session)))
        try:
            results = await asyncio.gather(*(_alone(what, check) for what, check in checks))
        finally:
            await door.close()
    return [_network(settings, exchange), *(finding for findings in results for finding in findings)]


async def _exchange(settings: Settings) -> Exchange | None:
    """Return where and for whom the bot trades; None where it trades with a key of its own that it runs with."""
    if settings.bot.network in {Network.SIM, Network.PAPER}:
        return None
    return await find_exchange(settings, None)


async def _alone(what: str, check: _Check) -> list[Finding]:
    """Run one check, so that its failure is one more finding."""
    try:
        return await check()
    except BotError as error:
        happened, _, remedy = error.message.partition("; ")
        return [Finding(what, Verdict.BAD, happened, remedy)]


def _network(settings: Settings, exchange: Exchange | None) -> Finding:
    network = settings.bot.network
    match network:
        case Network.PAPER:
            said = f"paper: simulated orders at the prices of {upstream_url(settings)}, which is only read"
        case Network.MAINNET:
            said = f"mainnet: real money of {exchange.traded_account if exchange else ''}, unlocked"
        case _:
            said = f"{network}: {exchange.hyperliquid_url if exchange else settings.hl.base_url}"
    return Finding("network", Verdict.GOOD, said)


async def _reachable(settings: Settings, door: Hyperliquid) -> list[Finding]:
    started = time.perf_counter()
    at_s = await door.ask("its time", {"type": "exchangeStatus"}, _parse_time)
    took_s = time.perf_counter() - started
    # The answer was made somewhere between question and answer.
    ahead_s = time.time() - took_s / 2 - at_s
    findings = [Finding("exchange", Verdict.GOOD, f"it answered in {took_s * 1000:.0f} ms")]
    if abs(ahead_s) > _WRONG_CLOCK_S + took_s:
        said = f"this machine is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the exchange"
        remedy = "Set it by NTP: the bot makes no entries with a wrong clock, and orders expire by the exchange's."
        findings.append(Finding("exchange clock", Verdict.BAD, said, remedy))
    else:
        findings.append(Finding("exchange clock", Verdict.GOOD, f"{ahead_s:+.1f} s from the exchange's"))
    if settings.bot.network is Network.PAPER:
        await door.meta_and_contexts()
    return findings


async def _key(door: Hyperliquid, exchange: Exchange) -> list[Finding]:
    now_s = time.time()
    standing = await look_at_key(door, exchange.wallet.address, exchange.account_address, exchange.vault_address, now_s)
    findings = []
    for warning in warnings_of(standing, now_s):
        is_bad = warning.code is WarningCode.KEY_UNUSABLE or (
            warning.code is WarningCode.KEY_EXPIRES and (standing.valid_until_s or 0) - now_s < _FEW_DAYS * _DAY_S
        )
        happened, _, remedy = warning.message.partition("; ")
        findings.append(Finding("key", Verdict.BAD if is_bad else Verdict.ODD, happened, remedy))
    return findings or [Finding("key", Verdict.GOOD, _described(standing, now_s))]


def _described(standing: KeyStanding, now_s: float) -> str:
    until_s = standing.valid_until_s
    end = "its end is not told" if until_s is None else f"for {(until_s - now_s) / _DAY_S:.0f} more days"
    return f"agent {standing.signer} of {standing.account}, {end}"


async def _account(door: Hyperliquid, exchange: Exchange) -> list[Finding]:
    state, mode = await door.user_state(), await door.account_mode()
    said = f"{exchange.traded_account}, {mode}: {state.equity_usd:.2f} USD, {state.withdrawable_usd:.2f} free"
    said += f", positions in {', '.join(state.positions)}" if state.positions else ", no positions"
    if state.equity_usd <= 0:
        remedy = "Deposit USDC, or check HL_ACCOUNT_ADDRESS: an agent's own address is always empty."
        return [Finding("account", Verdict.BAD, said, remedy)]
    return [Finding("account", Verdict.GOOD, said)]


async def _budget(door: Hyperliquid, exchange: Exchange) -> list[Finding]:
    query = {"type": "userRateLimit", "user": exchange.traded_account}
    used, cap = await door.ask("the request budget", query, _parse_budget)
    said = f"{used:,} of {cap:,} actions used"
    remedy = "Trading earns one action per USDC; until then the exchange takes one every 10 s. Fewer coins need fewer."
    if used >= cap * _SPENT:
        return [Finding("request budget", Verdict.BAD, said, remedy)]
    if used >= cap * _NEARLY_SPENT:
        return [Finding("request budget", Verdict.ODD, said, remedy)]
    return [Finding("request budget", Verdict.GOOD, said)]


async def _allora(settings: Settings, session: aiohttp.ClientSession) -> list[Finding]:
    api_key, chain = settings.allora.api_key, settings.allora.chain
    default = f"{settings.hl.base_url}/v2" if settings.bot.network is Network.SIM else "https://api.allora.network/v2"
    client = AlloraClient(
        settings.allora.base_url or default,
        api_key.get_secret_value() if api_key else "simulator",
        chain,
        settings.allora.timeout_s,
        session,
    )
    topics = topics_from_api(await client.topics())
    findings = [Finding("allora", Verdict.GOOD, f"{len(topics)} topics on {chain}")]
    try:
        topics |= {topic.id: topic for topic in parse_configured_topics(settings.allora.topics)}
    except ValueError as error:
        findings.append(Finding("topics", Verdict.BAD, f"ALLORA_TOPICS: {error}", "Write it as BTC:14:price:8h,…"))
    for symbol, topic_id in settings.default.active_cryptos.items():
        topic = topics.get(topic_id)
        remedy = f"Choose one of `allora-mqtt cryptos list --search {symbol}` for DEFAULT_ACTIVE_CRYPTOS."
        if topic is None:
            findings.append(Finding("topics", Verdict.BAD, f"there is no topic {topic_id} ({symbol})", remedy))
        elif topic.symbol != symbol:
            said = f"topic {topic_id} is {topic.name!r} and not about {symbol}"
            findings.append(Finding("topics", Verdict.BAD, said, remedy))
        elif not topic.is_usable:
            said = f"topic {topic_id} ({topic.name}) gives no price that can be traded on"
            findings.append(Finding("topics", Verdict.BAD, said, remedy))
    return findings


def _parse_time(raw: Mapping[str, Any]) -> float:
    return to_int(raw["time"]) / 1000


def _parse_budget(raw: Mapping[str, Any]) -> tuple[int, int]:
    return to_int(raw["nRequestsUsed"]), to_int(raw["nRequestsCap"])

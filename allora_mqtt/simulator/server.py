"""Puts the simulator together and serves it over HTTP."""

import asyncio
import contextlib
import errno
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from allora_mqtt.simulator.allora_api import AlloraApi
from allora_mqtt.simulator.allora_chain_api import AlloraChainApi
from allora_mqtt.simulator.exchange import Exchange
from allora_mqtt.simulator.exchange_state import ExchangeState
from allora_mqtt.simulator.fault_middleware import fault_middleware
from allora_mqtt.simulator.faults import FaultBook
from allora_mqtt.simulator.followed_market import FollowedMarket
from allora_mqtt.simulator.follower import Follower
from allora_mqtt.simulator.halt import halt_middleware
from allora_mqtt.simulator.hyperliquid_api import HyperliquidApi, arrival_middleware
from allora_mqtt.simulator.limits import IpLimiter
from allora_mqtt.simulator.market import Market, MarketClock
from allora_mqtt.simulator.predictions import Network, topics
from allora_mqtt.simulator.prices import PriceSource, RandomPrices
from allora_mqtt.simulator.replay import ReplayError, ReplayPrices
from allora_mqtt.simulator.request_coins import RequestCoins
from allora_mqtt.simulator.sim_api import SimApi
from allora_mqtt.simulator.state import Snapshot, StateError, StateFile
from allora_mqtt.simulator.universe import Universe
from allora_mqtt.simulator.world import World

TICK_S = 0.25
_SHUTDOWN_S = 0.5
_MISSED_POLLS = 3
_LEAST_STALE_S = 3.0
_REPLAY_PREFIX = "replay:"

_logger = logging.getLogger(__name__)


class SimulatorError(Exception):
    """The simulator cannot start; the message says why and what to do."""


@dataclass(frozen=True)
class SimulatorOptions:
    """How to run the simulator.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        seed: Same seed, same prices and predictions.
        speed: Seconds of market time in a second of wall time.
        skill: Correlation of predicted and true moves, 0 to 1.
        prices: "random", or "replay:" and the path of a CSV.
        state_path: Where accounts and orders are kept; None keeps them in memory.
        epoch_s: How long an inference stands, in seconds of wall time.
        rate_limit: Whether requests are counted and refused as the exchange does.
        follow: A real exchange whose assets and prices are followed instead of simulated ones; it is only read.
        follow_interval_s: Pause between two looks at it; what is older than three of them is not traded on.
    """

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 7
    speed: float = 1.0
    skill: float = 0.6
    prices: str = "random"
    state_path: Path | None = None
    epoch_s: float = 15.0
    rate_limit: bool = True
    follow: str | None = None
    follow_interval_s: float = 3.0


@dataclass
class RunningSimulator:
    """A simulator that is being served.

    Attributes:
        url: Its base URL, for HyperLiquid; Allora's is this and `/v2`.
        world: What is behind the HTTP faces.
    """

    url: str
    world: World
    _runner: web.AppRunner
    _ticker: "asyncio.Task[None]"

    async def close(self) -> None:
        """Stop serving and write the state."""
        self._ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._ticker
        await self._runner.cleanup()
        self.world.save()


def build_world(options: SimulatorOptions, clock: Callable[[], float]) -> World:
    """Build everything but the HTTP faces, from the saved state where there is one.

    Raises:
        SimulatorError: The state or the prices cannot be read.
    """
    state_file = StateFile(options.state_path)
    try:
        snapshot = state_file.load()
        market = _followed_market(options) if options.follow else _simulated_market(options, snapshot, clock())
    except (ReplayError, StateError) as error:
        raise SimulatorError(str(error)) from error
    return World(
        market=market,
        exchange=Exchange(market, ExchangeState() if snapshot is None else snapshot.exchange),
        state_file=state_file,
        faults=FaultBook(random.Random(options.seed), clock),  # noqa: S311 -- not for secrets
        clock=clock,
        limiter=IpLimiter() if options.rate_limit else None,
    )


def build_app(world: World, options: SimulatorOptions) -> web.Application:
    """The web application with all three doors."""
    known = topics(world.market.universe)
    coins = RequestCoins(world.market, known)
    doors = [arrival_middleware(world), fault_middleware(world.faults, coins)]
    if isinstance(world.market, FollowedMarket):
        doors.append(halt_middleware(world.market, world.clock))
    app = web.Application(middlewares=doors)
    app.add_routes(HyperliquidApi(world, coins).routes())
    app.add_routes(SimApi(world).routes())
    if options.follow is None:
        # Simulated predictions know the future of simulated prices, and no other.
        network = Network(world.market, options.seed, options.skill, options.epoch_s)
        app.add_routes(AlloraApi(world, network, known).routes())
        app.add_routes(AlloraChainApi(world, network, known).routes())
    return app


async def serve(options: SimulatorOptions, clock: Callable[[], float] = time.time) -> RunningSimulator:
    """Start the simulator in the running event loop.

    Args:
        options: How to run it.
        clock: Returns unix seconds.

    Raises:
        SimulatorError: The port is taken, or the state or the prices cannot be read.
    """
    world = build_world(options, clock)
    runner = web.AppRunner(build_app(world, options), access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.port).start()
    except OSError as error:
        await runner.cleanup()
        reason = "the port is taken" if error.errno == errno.EADDRINUSE else error.strerror
        raise SimulatorError(f"cannot listen on {options.host}:{options.port}: {reason}") from error
    world.save()
    host, port = runner.addresses[0][:2]
    return RunningSimulator(f"http://{host}:{port}", world, runner, asyncio.create_task(_live(world, options)))


async def _live(world: World, options: SimulatorOptions) -> None:
    """Let time pass: at a fixed pace, or with each look at the exchange that is followed."""
    if options.follow is not None and isinstance(world.market, FollowedMarket):
        follower = Follower(options.follow, options.follow_interval_s, world.market, world.clock, lambda: _tick(world))
        await follower.run()
    while True:
        await asyncio.sleep(TICK_S)
        _tick(world)


def _tick(world: World) -> None:
    try:
        world.tick()
    except Exception:
        # One failed tick must not stop triggers and funding for good; the next one tries again.
        _logger.exception("tick failed")


def _followed_market(options: SimulatorOptions) -> Market:
    return FollowedMarket(max(_MISSED_POLLS * options.follow_interval_s, _LEAST_STALE_S))


def _simulated_market(options: SimulatorOptions, snapshot: Snapshot | None, now_s: float) -> Market:
    universe = Universe.load()
    source = _price_source(options, universe)
    if snapshot is None:
        snapshot = Snapshot(MarketClock(now_s, source.start_s, options.speed))
    return Market(universe, source, snapshot.clock.with_speed(options.speed, now_s), snapshot.shifts)


def _price_source(options: SimulatorOptions, universe: Universe) -> PriceSource:
    others = RandomPrices(options.seed, universe)
    if options.prices == "random":
        return others
    if not options.prices.startswith(_REPLAY_PREFIX):
        raise ReplayError(f'prices must be "random" or "replay:FILE", not {options.prices!r}')
    path = Path(options.prices.removeprefix(_REPLAY_PREFIX))
    replay = ReplayPrices(path, others)
    unknown = sorted(replay.coins - {asset.name for asset in universe.live})
    if unknown:
        raise ReplayError(f"{path} has prices of {', '.join(unknown)}, which the exchange does not list")
    return replay

"""`/metrics`, `/healthz` and `/readyz` over HTTP, on the bot's own event loop; reading them changes nothing."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from allora_mqtt.control.dispatcher import Dispatcher
from allora_mqtt.control.inbox import Inbox
from allora_mqtt.control.outbox import Outbox
from allora_mqtt.control.reporter import Reporter
from allora_mqtt.monitoring.checks import Verdict, liveness, readiness
from allora_mqtt.monitoring.counting import Tally
from allora_mqtt.monitoring.families import PREFIX, READ
from allora_mqtt.monitoring.readings import View, readings
from allora_mqtt.protocol.errors import BotError
from allora_mqtt.store.database import Database, sqlite_path
from allora_mqtt.surroundings import CannotStart
from allora_mqtt.trading.engine import Engine
from allora_mqtt.trading.portfolio import DAILY_LOSS, DRAWDOWN
from allora_mqtt.transport.mqtt import MqttLink

log = logging.getLogger(__name__)

_STORE_ANSWERS_IN_S: Final = 2.0
_LEAVES_IN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Watched:
    """The parts of the bot that are looked at."""

    reporter: Reporter
    engine: Engine
    inbox: Inbox
    dispatcher: Dispatcher
    outbox: Outbox
    database: Database
    database_url: str
    data_dir: Path
    link: MqttLink
    clock: Callable[[], datetime]


class Listener:
    """Answers over HTTP; what it counts it is told by the parts that are watched."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        tally = Tally()
        watched.reporter.on_event = tally.happened
        watched.reporter.on_lag = tally.lagged
        watched.database.on_commit = tally.committed
        watched.dispatcher.on_responded = tally.ended
        self._registry = tally.registry
        self._registry.register(_Readings(watched))
        for collector in (ProcessCollector, PlatformCollector):
            collector(registry=self._registry)

    @asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[None]:
        """Serve for the length of a with block.

        Raises:
            CannotStart: the address is in use, or not one of this machine.
        """
        app = web.Application(client_max_size=1024)
        app.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_LEAVES_IN_S)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, host.strip("[]"), port).start()
            except OSError as error:
                message = (
                    f"BOT_METRICS_BIND={host}:{port} cannot be listened on ({error.strerror}); choose another port."
                )
                raise CannotStart(message) from error
            log.info("Metrics at http://%s:%d/metrics, and /healthz and /readyz", host, port)
            yield
        finally:
            await runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _answer(liveness(await self._store_error()))

    async def _readyz(self, _request: web.Request) -> web.Response:
        watched = self._watched
        account = watched.engine.portfolio.account
        age_s = None if account is None else abs(watched.clock().timestamp() - account.at)
        return _answer(
            readiness(
                broker_error=watched.link.last_error,
                is_connected=watched.link.is_up,
                has_read_mailbox=watched.inbox.has_read_mailbox,
                account_age_s=age_s,
            )
        )

    async def _store_error(self) -> str | None:
        """Return why nothing can be written, having had the writer end a transaction that writes nothing."""
        database = self._watched.database
        try:
            async with asyncio.timeout(_STORE_ANSWERS_IN_S):
                await database.write(_nothing)
        except TimeoutError:
            return f"it has not answered within {_STORE_ANSWERS_IN_S:g} s; {database.waiting} writes wait"
        except BotError as error:
            return error.message
        return database.last_error


class _Readings(Collector):
    """The gauges, as they are when somebody asks."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples."""
        return _families().values()

    def collect(self) -> Iterator[Metric]:
        """Return the families with what they are now."""
        families = _families()
        view = _view(self._watched)
        if view is not None:
            for name, labels, value in readings(view):
                families[name].add_metric(labels, float(value))
        yield from families.values()


def _families() -> dict[str, GaugeMetricFamily | CounterMetricFamily]:
    kinds = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}
    return {each.name: kinds[each.kind](PREFIX + each.name, each.help, labels=each.labels) for each in READ}


def _view(watched: Watched) -> View | None:
    reporter = watched.reporter
    status = reporter.status()
    if status is None:
        return None
    predictions = watched.engine.feed.predictions
    coins = reporter.coins()
    return View(
        status=status,
        health=reporter.health(),
        account=reporter.account(),
        positions=reporter.positions(),
        coins=coins,
        config=reporter.config(),
        predicted_at={symbol: predictions[symbol].at for symbol in coins if symbol in predictions},
        limits=(DAILY_LOSS, DRAWDOWN),
        queues={
            "journal": watched.inbox.waiting,
            "commands": watched.dispatcher.waiting,
            "events": watched.outbox.waiting_events,
            "state": watched.outbox.waiting_state,
            "store": watched.database.waiting,
        },
        sizes=_sizes(watched),
        connections=watched.link.connections,
        dropped=watched.inbox.dropped,
        is_connected=watched.link.is_up,
    )


def _sizes(watched: Watched) -> dict[str, int]:
    try:
        sizes = {"data_free_bytes": shutil.disk_usage(watched.data_dir).free}
        path = sqlite_path(watched.database_url)
        if path is not None:
            files = (path.with_name(f"{path.name}{tail}") for tail in ("", "-wal"))
            sizes["database_bytes"] = sum(file.stat().st_size for file in files if file.exists())
    except OSError:
        # A folder that is gone is what /healthz tells of.
        return {}
    return sizes


def _answer(verdict: Verdict) -> web.Response:
    return web.json_response(text=verdict.model_dump_json(), status=verdict.http_status)


def _nothing(_connection: Connection) -> None:
    pass

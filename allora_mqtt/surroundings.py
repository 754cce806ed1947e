"""What the bot stands on: its data folder, its database, its exchange and its broker."""

import asyncio
import fcntl
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from allora_mqtt.settings import Network, Settings
from allora_mqtt.simulator_process import SimulatorProcess, simulator_key
from allora_mqtt.store.database import Database
from allora_mqtt.store.migrate import migrate
from allora_mqtt.transport.embedded_broker import EmbeddedBroker
from allora_mqtt.transport.mqtt import Endpoint

log = logging.getLogger(__name__)

_TESTNET_URL: Final = "https://api.hyperliquid-testnet.xyz"
_ALLORA_URL: Final = "https://api.allora.network/v2"


class CannotStart(Exception):  # noqa: N818 - it names what happened
    """The bot cannot start; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Where to trade and where predictions come from."""

    hyperliquid_url: str
    allora_url: str
    secret_key: SecretStr
    api_key: SecretStr | None
    """None where the chain's REST takes the API's place."""


@asynccontextmanager
async def simulator(settings: Settings) -> AsyncIterator[SimulatorProcess | None]:
    """Start the simulator on `sim`, unless `HL_BASE_URL` says where one is running."""
    if settings.bot.network is not Network.SIM or settings.hl.base_url is not None:
        yield None
        return
    process = SimulatorProcess(settings.sim, settings.bot.data_dir / "simulator.json")
    await process.start()
    try:
        yield process
    finally:
        await process.stop()


async def find_exchange(settings: Settings, process: SimulatorProcess | None) -> Exchange:
    """Return where to trade and with which keys."""
    key, api_key, url = settings.hl.secret_key, settings.allora.api_key, settings.hl.base_url
    if settings.bot.network is Network.SIM:
        url = await process.url() if process is not None else url
        key = key or SecretStr(simulator_key(settings.bot.data_dir / "simulator.key"))
        # The simulator takes any key for predictions.
        api_key = api_key or SecretStr("simulator")
    if key is None or (api_key is None and settings.allora.chain_url is None):
        raise CannotStart(f"BOT_NETWORK={settings.bot.network} needs HL_SECRET_KEY and ALLORA_API_KEY.")
    default_allora = f"{url}/v2" if settings.bot.network is Network.SIM else _ALLORA_URL
    return Exchange(url or _TESTNET_URL, settings.allora.base_url or default_allora, key, api_key)


@asynccontextmanager
async def broker(settings: Settings) -> AsyncIterator[Endpoint]:
    """Know where the broker is; start the embedded one when no `MQTT_HOST` is set."""
    if settings.mqtt.host is not None:
        yield Endpoint(settings.mqtt.host, settings.mqtt.effective_port)
        return
    embedded = EmbeddedBroker(*settings.embedded.address)
    await embedded.start()
    try:
        yield Endpoint(embedded.host, embedded.port, embedded=True)
    finally:
        await embedded.stop()


async def open_database(settings: Settings) -> Database:
    """Bring the database to the present schema, after a backup, and open it."""
    url = settings.bot.effective_database_url
    backup = await asyncio.to_thread(migrate, url, settings.bot.data_dir / "backups", datetime.now(UTC))
    if backup is not None:
        log.info("The database was brought to the present schema; a copy of the old one is %s", backup)
    return Database(url)


@contextmanager
def only_bot_in(data_dir: Path) -> Iterator[None]:
    """Keep a second bot from using the same journal."""
    try:
        handle = _open_lock(data_dir / "bot.lock")
    except OSError as error:
        raise CannotStart(f"BOT_DATA_DIR {data_dir} cannot be used: {error.strerror}.") from error
    with _alone(handle, f"Another bot uses {data_dir}; stop it, or give this one another BOT_DATA_DIR."):
        yield


@contextmanager
def only_bot_on(account: str, exchange_url: str, locks: Path) -> Iterator[None]:
    """Keep a second bot of this user from trading on the same account: neither would know of the other's positions.

    Args:
        account: its address.
        exchange_url: the same address elsewhere is another account.
        locks: the user's folder for what lasts as long as a process.
    """
    exchange = hashlib.sha256(exchange_url.encode()).hexdigest()[:16]
    try:
        handle = _open_lock(locks / f"account-{account.lower()}-{exchange}.lock")
    except OSError as error:
        log.warning("Whether another bot trades on %s cannot be known: %s: %s", account, locks, error.strerror)
        yield
        return
    message = f"Another bot on this machine trades on the account {account}; stop it, or give this one another account."
    with _alone(handle, message):
        yield


def _open_lock(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


@contextmanager
def _alone(handle: int, otherwise: str) -> Iterator[None]:
    """Hold a lock that goes with the process, however it ends."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise CannotStart(otherwise) from error
    try:
        yield
    finally:
        os.close(handle)

"""What the bot stands on: its data folder, its database, its exchange and its broker."""

import asyncio
import fcntl
import hashlib
import json
import logging
import os
import secrets
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import platformdirs
from eth_account import Account
from eth_account.signers.local import LocalAccount
from pydantic import SecretStr
from sqlalchemy.exc import DBAPIError

from allora_mqtt.database_url import is_postgresql
from allora_mqtt.files import write_whole
from allora_mqtt.settings import MAINNET_URL, TESTNET_URL, Network, Settings, mainnet_locked
from allora_mqtt.simulator_process import SimulatorProcess, simulator_key
from allora_mqtt.store.database import Database, NoDriver
from allora_mqtt.store.journal import Journal
from allora_mqtt.store.lease import Lease, holder_name
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.store.migrate import NewerSchema, migrate
from allora_mqtt.store.postgres import is_gone
from allora_mqtt.trading.execution import LIFETIME_MS
from allora_mqtt.transport.connection import Endpoint
from allora_mqtt.transport.embedded_broker import EmbeddedBroker

log = logging.getLogger(__name__)

_URLS: Final = {Network.TESTNET: TESTNET_URL, Network.MAINNET: MAINNET_URL}
_ALLORA_URL: Final = "https://api.allora.network/v2"
_LOCK: Final = "bot.lock"
_BOOKS: Final = "books"
_SIGNER: Final = "signer"
_OTHER_CLOCK_S: Final = 2.0
"""How far the exchange's clock may be behind the one that an order's end was counted by."""
_DATABASE_RETRY_S: Final = 1.0
_OUTLASTED: Final = 3.0
"""How many leases a bot that is no pair's waits for one of which it does not know that it is gone."""


class CannotStart(Exception):  # noqa: N818 - it names what happened
    """The bot cannot start; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Where to trade, for whom, and where predictions come from.

    Attributes:
        hyperliquid_url: the API without a path.
        allora_url: the API with its version.
        wallet: signs; the account's own key, or an agent's.
        account_address: the account that trades, itself or for a vault.
        vault_address: the vault or sub-account to trade for.
        api_key: Allora's.
    """

    hyperliquid_url: str
    allora_url: str
    wallet: LocalAccount = field(repr=False)
    account_address: str
    vault_address: str | None
    api_key: SecretStr | None
    """None where the chain's REST takes the API's place."""

    @property
    def traded_account(self) -> str:
        """The account whose money is at stake."""
        return self.vault_address or self.account_address


@asynccontextmanager
async def simulator(settings: Settings) -> AsyncIterator[SimulatorProcess | None]:
    """Start the simulator: on `sim`, unless `HL_BASE_URL` says where one is running, and on `paper`."""
    data_dir, network = settings.bot.data_dir, settings.bot.network
    if network is Network.PAPER:
        upstream = upstream_url(settings)
        # Positions are kept by the number of their asset, and another exchange numbers its assets another way.
        state = data_dir / f"paper-{hashlib.sha256(upstream.encode()).hexdigest()[:8]}.json"
        process = SimulatorProcess(settings.sim, state, follow=upstream)
    elif network is Network.SIM and settings.hl.base_url is None:
        process = SimulatorProcess(settings.sim, data_dir / "simulator.json")
    else:
        yield None
        return
    await process.start()
    try:
        yield process
    finally:
        await process.stop()


def upstream_url(settings: Settings) -> str:
    """Return the exchange whose prices `paper` follows, which is read and never written to."""
    return settings.hl.base_url or MAINNET_URL


async def find_exchange(settings: Settings, process: SimulatorProcess | None) -> Exchange:
    """Return where to trade, for whom, and with which keys.

    Raises:
        CannotStart: a key is missing or is none, or mainnet is locked.
    """
    network, hl = settings.bot.network, settings.hl
    if process is not None:
        url = await process.url()
    else:
        url = hl.base_url or _URLS.get(network, "")
    is_own = network is Network.PAPER
    if is_own and (hl.secret_key or hl.account_address or hl.vault):
        log.info("Paper trades with a key and an account of its own; those of HL_… are not used")
    key = None if is_own else hl.secret_key
    if key is None and network in {Network.SIM, Network.PAPER}:
        key = SecretStr(simulator_key(settings.bot.data_dir / "simulator.key"))
    # The simulator takes any key for predictions.
    api_key = settings.allora.api_key or (SecretStr("simulator") if network is Network.SIM else None)
    if key is None or (api_key is None and settings.allora.chain_url is None):
        raise CannotStart(f"BOT_NETWORK={network} needs HL_SECRET_KEY and ALLORA_API_KEY.")
    wallet = _wallet(key)
    exchange = Exchange(
        hyperliquid_url=url,
        allora_url=settings.allora.base_url or (f"{url}/v2" if network is Network.SIM else _ALLORA_URL),
        wallet=wallet,
        account_address=wallet.address if is_own else hl.account_address or wallet.address,
        vault_address=None if is_own else hl.vault,
        api_key=api_key,
    )
    _check_lock(settings, exchange)
    return exchange


def _check_lock(settings: Settings, exchange: Exchange) -> None:
    """Let nothing be signed for mainnet that two settings do not both ask for.

    Raises:
        CannotStart: only one of them does.
    """
    confirmed, account = settings.hl.mainnet_confirm, exchange.traded_account
    if settings.bot.network is Network.MAINNET:
        if confirmed is None or confirmed.lower() != account.lower():
            raise CannotStart(f"{mainnet_locked(account, confirmed)}.")
    elif exchange.hyperliquid_url.rstrip("/") == MAINNET_URL:
        raise CannotStart(f"BOT_NETWORK={settings.bot.network} does not trade at {MAINNET_URL}; remove HL_BASE_URL.")


def _wallet(key: SecretStr) -> LocalAccount:
    try:
        wallet: LocalAccount = Account.from_key(key.get_secret_value())
    except ValueError:
        # What the library says of a number that is no key may hold the number.
        raise CannotStart("HL_SECRET_KEY is no private key; copy it again from HyperLiquid's API page.") from None
    return wallet


@asynccontextmanager
async def broker(settings: Settings) -> AsyncIterator[Endpoint]:
    """Know where the broker is; start the embedded one when no `MQTT_HOST` is set."""
    if settings.mqtt.host is not None:
        yield Endpoint(settings.mqtt.host, settings.mqtt.effective_port)
        return
    users, login = settings.embedded.users, None
    if users:
        # The bot's own, of this start: nobody has to write one down for it.
        login = (f"bot-{secrets.token_hex(8)}", SecretStr(secrets.token_urlsafe(32)))
        users[login[0]] = login[1].get_secret_value()
    embedded = EmbeddedBroker(*settings.embedded.address, users=users, websockets=settings.embedded.ws_address)
    await embedded.start()
    try:
        yield Endpoint(embedded.reached_at, embedded.port, embedded=True, login=login)
    finally:
        await embedded.stop()


@asynccontextmanager
async def lease_of(settings: Settings) -> AsyncIterator[Lease | None]:
    """Hold the lease of the bot's part of PostgreSQL; a SQLite file is guarded by its folder's lock.

    Of a pair, one bot waits here as long as the other has it.

    Raises:
        CannotStart: another bot has it, or psycopg is missing.
    """
    if not is_postgresql(settings.database_url):
        yield None
        return
    bot = settings.bot
    try:
        lease = Lease(settings.database_url, holder_name(bot.data_dir / _LOCK), bot.lease_s)
    except NoDriver as error:
        raise CannotStart(str(error)) from error
    try:
        if not await lease.take(None if bot.pair else _OUTLASTED * bot.lease_s):
            raise CannotStart(
                f"Another bot with MQTT_BASE_TOPIC={settings.mqtt.base_topic} uses this PostgreSQL database; stop it, "
                "give this one another MQTT_BASE_TOPIC or database, or set BOT_PAIR=true for both."
            )
        yield lease
    finally:
        await lease.close()


async def open_database(settings: Settings, lease: Lease | None = None) -> Database:
    """Bring the database to the present schema, after a backup, and open it.

    Args:
        settings: say where it is.
        lease: the right to write to it, where other bots could.

    Raises:
        CannotStart: a newer version of the program has written it.
    """
    url = settings.database_url
    while True:
        try:
            backup = await asyncio.to_thread(migrate, url, settings.bot.data_dir / "backups", datetime.now(UTC))
        except NewerSchema as error:
            raise CannotStart(str(error)) from error
        except DBAPIError as error:
            if not is_gone(error):
                raise
            log.warning("PostgreSQL is not there: %s; trying again", " ".join(str(error.orig).split()))
            await asyncio.sleep(_DATABASE_RETRY_S)
        else:
            if backup is not None:
                log.info("The database was brought to the present schema; a copy of the old one is %s", backup)
            return Database(url, lease)


@contextmanager
def only_bot_in(data_dir: Path) -> Iterator[None]:
    """Keep a second bot from using the same journal."""
    try:
        handle = _open_lock(data_dir / _LOCK)
    except OSError as error:
        raise CannotStart(f"BOT_DATA_DIR {data_dir} cannot be used: {error.strerror}.") from error
    with _alone(handle, f"Another bot uses {data_dir}; stop it, or give this one another BOT_DATA_DIR."):
        yield


async def keep_books_apart(settings: Settings, account: str, database: Database) -> None:
    """Keep the books of one network and account in one place: positions of another would be taken for lost.

    Raises:
        CannotStart: the place holds other books.
    """
    mine = {"network": settings.bot.network.value, "account": account.lower()}
    if is_postgresql(settings.database_url):
        where = f"The PostgreSQL database has for MQTT_BASE_TOPIC={settings.mqtt.base_topic}"
        remedy = "set MQTT_BASE_TOPIC or BOT_DATABASE_URL to another one"
        found = (await Journal(database).saved()).state.get(_BOOKS)
        if found is None:
            found = mine
            await Ledger(database).put_state({_BOOKS: {**mine}})
    else:
        where = f"BOT_DATA_DIR {settings.bot.data_dir} holds"
        remedy = "set BOT_DATA_DIR to another folder"
        found = _books_in(settings.bot.data_dir, mine)
    if found != mine:
        raise CannotStart(f"{where} the books of {_named(found)}, and this is {_named(mine)}: {remedy}.")


async def outlast_another_key(address: str, database: Database) -> None:
    """Wait until nothing that another key has signed can run any more.

    What the bot before this one has sent, and may be sending still, is told from new orders by its nonce; the exchange
    keeps those apart for each key.

    Args:
        address: of this bot's key.
        database: knows the one before.
    """
    before = (await Journal(database).saved()).state.get(_SIGNER)
    if before == address:
        return
    if before is not None:
        log.info("The bot before this one signed with another key (%s): waiting until its orders have expired", before)
        await asyncio.sleep(LIFETIME_MS / 1000 + _OTHER_CLOCK_S)
    await Ledger(database).put_state({_SIGNER: address})


def _books_in(data_dir: Path, mine: dict[str, str]) -> object:
    """Return whose books a data folder holds: from now on ours, if nobody's before."""
    marker = data_dir / f"{_BOOKS}.json"
    try:
        found: object = json.loads(marker.read_text(encoding="utf-8"))
    except FileNotFoundError:
        write_whole(marker, json.dumps(mine).encode())
        return mine
    except (OSError, ValueError) as error:
        raise CannotStart(f"{marker} cannot be read ({type(error).__name__}); look whose books these are.") from None
    return found


def _named(books: object) -> str:
    match books:
        case {"network": str(network), "account": str(account)}:
            return f"{network} account {account}"
        case _:
            return "nobody knows whom (books.json cannot be read)"


def user_locks() -> Path:
    """Return the user's folder for locks, which is a temporary one where no session gives the user a better one."""
    with warnings.catch_warnings():
        # Root, containers and services have none, and there is nothing that they should do about it.
        warnings.simplefilter("ignore", UserWarning)
        return platformdirs.user_runtime_path("allora-mqtt")


@contextmanager
def only_bot_on(account: str, exchange_url: str, locks: Path, *, is_pair: bool) -> Iterator[None]:
    """Keep a second bot of this user from trading on the same account: neither would know of the other's positions.

    Args:
        account: its address.
        exchange_url: the same address elsewhere is another account.
        locks: the user's folder for what lasts as long as a process.
        is_pair: whether there may be another bot of a pair, which their lease tells when to trade.
    """
    exchange = hashlib.sha256(exchange_url.encode()).hexdigest()[:16]
    try:
        handle = _open_lock(locks / f"account-{account.lower()}-{exchange}.lock")
    except OSError as error:
        log.warning("Whether another bot trades on %s cannot be known: %s: %s", account, locks, error.strerror)
        yield
        return
    message = f"Another bot on this machine trades on the account {account}; stop it, or give this one another account."
    with _alone(handle, message, fcntl.LOCK_SH if is_pair else fcntl.LOCK_EX):
        yield


def _open_lock(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


@contextmanager
def _alone(handle: int, otherwise: str, kind: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold a lock that goes with the process, however it ends."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise CannotStart(otherwise) from error
    try:
        yield
    finally:
        os.close(handle)

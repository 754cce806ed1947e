"""The simulator's own door under `/sim`: faults, prices, accounts, and a look behind the scenes."""

import json
from dataclasses import asdict, dataclass
from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from allora_mqtt.simulator import info_views as views
from allora_mqtt.simulator.account import Mode
from allora_mqtt.simulator.faults import FAULT_RULES, FaultRule
from allora_mqtt.simulator.market import MarketClock
from allora_mqtt.simulator.transfers import Way, transfer
from allora_mqtt.simulator.wire import Address
from allora_mqtt.simulator.world import World

Model = TypeVar("Model", bound=BaseModel)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _PriceBody(_Body):
    coin: str
    factor: Annotated[float, Field(gt=0.001, lt=1_000)]


class _TimeBody(_Body):
    advance_s: Annotated[float, Field(ge=0, le=366 * 86_400)] = 0.0
    speed: Annotated[float, Field(gt=0, le=1_000_000)] | None = None


class _AccountBody(_Body):
    address: Address
    usd: Annotated[Decimal, Field(ge=0, le=1_000_000_000)]
    mode: Mode | None = None


class _TransferBody(_Body):
    address: Address
    usd: Annotated[Decimal, Field(ge=-1_000_000_000, le=1_000_000_000)]
    way: Way = "bridge"


class _AgentBody(_Body):
    agent: Address
    master: Address
    name: Annotated[str, Field(max_length=40)] = ""


class _VaultBody(_Body):
    vault: Address
    leader: Address


class _AddressQuery(_Body):
    address: Address


@dataclass
class SimApi:
    """The handlers under `/sim`."""

    world: World

    def routes(self) -> list[web.RouteDef]:
        """What to add to the web application."""
        return [
            web.get("/sim/faults", self.get_faults),
            web.put("/sim/faults", self.put_faults),
            web.post("/sim/faults", self.add_faults),
            web.delete("/sim/faults", self.delete_faults),
            web.get("/sim/log", self.log),
            web.get("/sim/state", self.state),
            web.post("/sim/price", self.shift_price),
            web.get("/sim/time", self.get_time),
            web.post("/sim/time", self.set_time),
            web.post("/sim/accounts", self.fund),
            web.post("/sim/transfers", self.transfer),
            web.post("/sim/agents", self.register_agent),
            web.post("/sim/vaults", self.register_vault),
        ]

    async def get_faults(self, _: web.Request) -> web.Response:
        """The rules in force."""
        return self._faults()

    async def put_faults(self, request: web.Request) -> web.Response:
        """Replace the rules."""
        self.world.faults.rules = await _fault_rules(request)
        return self._faults()

    async def add_faults(self, request: web.Request) -> web.Response:
        """Put further rules in force."""
        self.world.faults.add(await _fault_rules(request))
        return self._faults()

    async def delete_faults(self, _: web.Request) -> web.Response:
        """Lift all faults."""
        self.world.faults.rules = []
        return self._faults()

    async def log(self, request: web.Request) -> web.Response:
        """What reached `/exchange` after number `since`."""
        since = request.query.get("since", "0")
        if not since.isdecimal():
            raise web.HTTPUnprocessableEntity(text="since must be a whole number")
        return web.json_response([asdict(entry) for entry in self.world.arrivals if entry.seq > int(since)])

    async def state(self, request: web.Request) -> web.Response:
        """One account at a glance."""
        query = _validate(_AddressQuery, dict(request.query))
        account = self.world.exchange.state.accounts.get(query.address)
        if account is None:
            raise web.HTTPNotFound(text=f"no account {query.address}")
        market, now_s = self.world.market, self.world.clock()
        return web.json_response(
            {
                "clearinghouse": views.clearinghouse_state(account, market, now_s),
                "orders": [views.frontend_order(order, account, market) for order in account.orders.values()],
                "fills": len(account.fills),
                "cash_usd": str(account.cash_usd),
                "forfeited_usd": str(account.forfeited_usd),
                "action_count": account.action_count,
                "market_s": market.clock.market_s(now_s),
            }
        )

    async def shift_price(self, request: web.Request) -> web.Response:
        """Multiply a coin's price from now on, and let the exchange react at once."""
        body = _validate(_PriceBody, await _json(request))
        asset = self.world.market.universe.by_name(body.coin)
        if asset is None or asset.is_delisted:
            raise web.HTTPUnprocessableEntity(text=f"no live coin {body.coin}")
        now_s = self.world.clock()
        self.world.market.shift(asset.name, body.factor, now_s)
        self.world.tick()
        self.world.save()
        return web.json_response({"coin": asset.name, "markPx": f"{self.world.market.mark(asset, now_s):f}"})

    async def get_time(self, _: web.Request) -> web.Response:
        """Wall time and market time."""
        return self._time()

    async def set_time(self, request: web.Request) -> web.Response:
        """Let market time leap ahead or run at another speed; nonces, rate limits and faults stay on wall time.

        Nothing happens in the time that is skipped but funding: triggers and resting orders see its end only.
        """
        body = _validate(_TimeBody, await _json(request))
        market, now_s = self.world.market, self.world.clock()
        speed = market.clock.speed if body.speed is None else body.speed
        market.set_clock(MarketClock(now_s, market.clock.market_s(now_s) + body.advance_s, speed))
        self.world.tick()
        self.world.save()
        return self._time()

    def _time(self) -> web.Response:
        clock, now_s = self.world.market.clock, self.world.clock()
        return web.json_response(
            {"wall_ms": int(now_s * 1000), "market_s": clock.market_s(now_s), "speed": clock.speed}
        )

    async def fund(self, request: web.Request) -> web.Response:
        """Open an account with this much money, or set the money of one that is there, and its mode."""
        body = _validate(_AccountBody, await _json(request))
        account = self.world.exchange.open_account(body.address)
        account.cash_usd = body.usd
        if body.mode is not None:
            account.mode = body.mode
        self.world.save()
        return web.json_response({"address": account.address, "usd": str(account.cash_usd)})

    async def transfer(self, request: web.Request) -> web.Response:
        """Deposit money into an account, or withdraw it (below zero), as the exchange's ledger tells it."""
        body = _validate(_TransferBody, await _json(request))
        account, now_s = self.world.exchange.open_account(body.address), self.world.clock()
        if account.cash_usd + body.usd < 0:
            raise web.HTTPUnprocessableEntity(text=f"there are {account.cash_usd} USD to withdraw")
        line = transfer(account, body.usd, body.way, int(now_s * 1000))
        self.world.remember(account, now_s)
        self.world.save()
        return web.json_response(line)

    async def register_agent(self, request: web.Request) -> web.Response:
        """Let an agent wallet act for its master."""
        body = _validate(_AgentBody, await _json(request))
        self.world.exchange.open_account(body.master)
        state = self.world.exchange.state
        state.agents[body.agent] = body.master
        state.agent_names[body.agent] = body.name or f"agent {len(state.agents)}"
        self.world.save()
        return web.json_response({"agent": body.agent, "master": body.master, "name": state.agent_names[body.agent]})

    async def register_vault(self, request: web.Request) -> web.Response:
        """Open a vault (or sub-account) that its leader may trade for with `vaultAddress`."""
        body = _validate(_VaultBody, await _json(request))
        self.world.exchange.open_account(body.leader)
        self.world.exchange.open_account(body.vault)
        self.world.exchange.state.vaults[body.vault] = body.leader
        self.world.save()
        return web.json_response({"vault": body.vault, "leader": body.leader})

    def _faults(self) -> web.Response:
        return web.json_response([rule.model_dump(exclude_none=True) for rule in self.world.faults.rules])


async def _fault_rules(request: web.Request) -> list[FaultRule]:
    try:
        return FAULT_RULES.validate_json(await request.read())
    except ValidationError as error:
        raise _unprocessable(error) from error


async def _json(request: web.Request) -> Any:  # noqa: ANN401 -- any JSON value
    try:
        return json.loads(await request.read())
    except ValueError as error:
        raise web.HTTPBadRequest(text="the body is not JSON") from error


def _validate(model: type[Model], value: object) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _unprocessable(error) from error


def _unprocessable(error: ValidationError) -> web.HTTPUnprocessableEntity:
    problems = [{"where": ".".join(map(str, one["loc"])), "what": one["msg"]} for one in error.errors()]
    return web.HTTPUnprocessableEntity(
        text=json.dumps({"status": HTTPStatus.UNPROCESSABLE_ENTITY, "errors": problems}),
        content_type="application/json",
    )

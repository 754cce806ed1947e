"""A bot that trades while something breaks, and the proof that it is as before once that is mended."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.guarantees.audit import ENDS, Audit
from tests.guarantees.record import Value, record
from tests.guarantees.sender import Plan, Sender
from tests.guarantees.standing import Standing, standing
from tests.guarantees.storm import VERSIONS
from tests.support.client import Watcher
from tests.support.exchange import entries
from tests.support.mosquitto import Mosquitto
from tests.support.net import until
from tests.support.postgres import Postgres

COIN = "BTC"
_SOON_S = 90
"""A breaker opens for 15 s, a dead line is noticed in 40 s at most; nothing needs longer than both."""


@dataclass
class Recovery:
    """The bot, with a sender who goes on sending whatever happens.

    Args:
        here: the bot with everything it stands on.
        audit: a look into its database.
        sender: of commands.
        watcher: sees what the bot says, where the fault lets it.
    """

    here: Standing
    audit: Audit
    sender: Sender
    watcher: Watcher
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _unproven: list[Plan] = field(default_factory=list)

    def send(self, count: int = 5) -> None:
        """Send settings that say of themselves in which order they were sent."""
        for number in itertools.islice(self._numbers, count):
            value = f"1.{number + 10_000}1"
            plan = Plan(f"recovery-{number}", "config/tp_ratio/set", "", value=value)
            plan = Plan(plan.id, plan.topic, json.dumps({"value": float(value), "id": plan.id}), value=value)
            self._unproven.append(plan)
            self.sender.send(plan)

    def is_ok(self) -> bool:
        """Whether the bot says that everything is well, now."""
        status, health = self.watcher.json("status"), self.watcher.json("health")
        return (
            status is not None
            and health is not None
            and status["health"] == "ok"
            and all(each["state"] == "ok" for each in health.values())
        )

    def is_troubled(self) -> bool:
        """Whether the bot says that something is wrong."""
        status = self.watcher.json("status")
        return status is not None and status["health"] != "ok"

    def prove(self, where: str, **counts: Value) -> None:
        """See to it that all is as before: well, nothing lost, nothing doubled, in order, trading, and of one mind."""
        mended_at = time.monotonic()
        # A client that has only just reconnected may send what is new before what waited.
        self.sender.all_acknowledged(_SOON_S)
        self.send(1)
        sent, self._unproven = self._unproven, []
        until(lambda: {plan.id for plan in sent} <= self.sender.answered(), "an answer to every command", _SOON_S)
        answered_s = time.monotonic() - mended_at
        until(self.is_ok, f"health ok, not {self.watcher.last('health')!r}", _SOON_S)
        ok_s = time.monotonic() - mended_at
        self._prove_once_and_in_order(sent)
        self.prove_trading()
        disagreements = self.here.disagreements(self.audit)
        self.activate()
        record(
            "G14",
            where,
            sent=len(sent),
            lost=0,
            answered_after_s=round(answered_s, 1),
            ok_after_s=round(ok_s, 1),
            disagreements=len(disagreements),
            **counts,
        )
        assert not disagreements, disagreements
        assert self.here.bot.is_alive()
        assert "Traceback" not in self.here.bot.log.read_text()

    def prove_trading(self) -> None:
        """See entries leave, and not only those that rest on what was known of the two coins before."""
        last = max((arrival["seq"] for arrival in self.here.exchange.arrivals()), default=0)

        def enters() -> bool:
            self.watcher.ask("close", symbol=COIN)
            return len(entries(self.here.exchange.arrivals(last))) >= 3

        until(enters, "three entries", _SOON_S)

    def activate(self) -> None:
        """Tell the bot to trade."""
        done = self.watcher.command("mode/set", "response/mode", {"value": "ACTIVE"})
        assert done["status"] == "EXECUTED", done

    def _prove_once_and_in_order(self, sent: list[Plan]) -> None:
        ours = {plan.id for plan in sent}
        ends = {command.id: command.status for command in self.audit.commands() if command.id in ours}
        assert set(ends) == ours
        assert set(ends.values()) <= ENDS
        journaled = [command.id for command in self.audit.commands() if command.id in ours]
        assert len(journaled) == len(ours), "a command is in the journal twice"
        values = [plan.value for plan in sent]
        ran = [value for value in self.audit.settings("tp_ratio") if value in values]
        assert ran == values, "not every setting was made once and in order"


@contextmanager
def recovery(
    folder: Path,
    mosquitto: Mosquitto,
    version: str,
    *,
    once_started: Callable[[], None] = lambda: None,
    postgres: Postgres | None = None,
    **settings: str,
) -> Iterator[Recovery]:
    """Bring up a bot that trades."""
    with ExitStack() as stack:
        wanted = {"HL_TIMEOUT_S": "1", "ALLORA_TIMEOUT_S": "1"}
        here = stack.enter_context(
            standing(
                folder,
                mosquitto,
                version,
                epoch_s=1,
                once_started=once_started,
                postgres=postgres,
                **wanted,
                **settings,
            )
        )
        audit = Audit(here.database)
        sender = stack.enter_context(Sender(here.broker_port, "recovery", VERSIONS[version]))
        ready = Recovery(here, audit, sender, stack.enter_context(here.watcher()))
        ready.watcher.command("cryptos/set", "response/cryptos", {"value": {COIN: 14, "ETH": 13}})
        ready.activate()
        ready.prove_trading()
        until(ready.is_ok, "health ok", _SOON_S)
        yield ready

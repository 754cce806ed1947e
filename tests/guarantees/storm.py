"""One bad day: four clients send commands while the bot and the broker are killed and the line between them breaks.

What is looked at afterwards is the bot's database (by triggers of the tests' own) and the simulated exchange, both of
which outlive the bot; the bot's own words count only as answers.
"""

import itertools
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from paho.mqtt.enums import MQTTProtocolVersion

from tests.guarantees.audit import ENDS, Audit, Command
from tests.guarantees.plans import CLIENTS, plans
from tests.guarantees.scale import Scale, chance
from tests.guarantees.sender import Plan, Sender, Sending
from tests.guarantees.standing import Standing, standing
from tests.support.mosquitto import Mosquitto
from tests.support.net import until
from tests.support.postgres import Postgres
from tests.support.program import Bot
from tests.support.proxy import Proxy

VERSIONS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}
_SETTLED_S = 120
_PATIENCE_S = 3
_BURSTS = 0.7
"""The share of blows that fall while many commands are under way at once."""


@dataclass
class Aftermath:
    """What there is to look at when the day is over.

    Attributes:
        sendings: every command with its sender's view of it.
        commands: the journal.
        ends: by journal entry, every end the command has had.
        mode_seqs: the journal entries of the commands that set the mode, in the order in which they did.
        values: every value that the setting which the clients fight over has had, in order.
        cloids: how often the exchange has accepted each order.
        kept_by_broker: what was on the broker's disk at each of its deaths.
        faults: how often what was done.
        quiet: commands that were sent one by one when the storm was over.
        disagreements: where journal, retained state, memory and exchange say different things at the end.
    """

    sendings: dict[str, Sending]
    commands: list[Command]
    ends: dict[int, list[str]]
    mode_seqs: list[int]
    values: list[str]
    cloids: Counter[str]
    kept_by_broker: list[tuple[float, bytes]]
    faults: Counter[str]
    quiet: list[Sending]
    disagreements: list[str]

    def acknowledged(self) -> list[Sending]:
        """Return what the broker has taken upon itself."""
        return [sending for sending in self.sendings.values() if sending.acknowledged_at is not None]

    def broken_by_broker(self) -> list[str]:
        """Return the commands that mosquitto acknowledged, had not written down when it died, and never delivered."""
        journaled = {command.id for command in self.commands}
        gone = []
        for sending in self.acknowledged():
            deaths = [kept for at, kept in self.kept_by_broker if at >= (sending.acknowledged_at or at)]
            if sending.plan.id not in journaled and deaths and sending.plan.id.encode() not in deaths[0]:
                gone.append(sending.plan.id)
        return gone

    def lost(self) -> list[str]:
        """Return the commands that the broker had and that did not come to an end."""
        ended = {command.id for command in self.commands if command.status in ENDS}
        return sorted({each.plan.id for each in self.acknowledged()} - ended - set(self.broken_by_broker()))

    def unanswered(self) -> list[str]:
        """Return the commands in the journal whose answer the broker does not have."""
        return [command.id or str(command.seq) for command in self.commands if not command.answered]

    def doubled(self) -> list[str]:
        """Return the commands and orders that had their effect twice."""
        first = Counter(command.id for command in self.commands if command.id and command.duplicate_of is None)
        found = [f"{each} is in the journal {count} times" for each, count in first.items() if count > 1]
        found += [f"entry {seq} ended {ends}" for seq, ends in self.ends.items() if len(ends) > 1]
        found += [f"tp_ratio was set to {value} {count} times" for value, count in _more_than_once(self.values)]
        found += [f"the mode was set by entry {seq} {count} times" for seq, count in _more_than_once(self.mode_seqs)]
        found += [f"order {cloid} was accepted {count} times" for cloid, count in _more_than_once(self.cloids)]
        for sending in self.sendings.values():
            runs = {each["executed_at"] for _, each in sending.responses if each["status"] == "EXECUTED"}
            found += [f"{sending.plan.id} says that it ran at {sorted(runs)}"] if len(runs) > 1 else []
        return found

    def backwards(self) -> list[str]:
        """Return where an older command came after a newer one for the same thing, by the sender's own order."""
        found = [f"mode: entry {old} after {new}" for new, old in _falling(self.mode_seqs)]
        for client in range(CLIENTS):
            mine = [int(value.split(".")[1]) for value in self.values if int(value.split(".")[0]) == client + 1]
            found += [f"client {client}: value {old} after {new}" for new, old in _falling(mine)]
        return found


def _more_than_once(seen: Counter[str] | list[str] | list[int]) -> list[tuple[object, int]]:
    return [(each, count) for each, count in Counter(seen).items() if count > 1]


def _falling(numbers: list[int]) -> list[tuple[int, int]]:
    return [(before, after) for before, after in itertools.pairwise(numbers) if after < before]


@dataclass
class Storm:
    """Brings the day about.

    Args:
        standing: the bot with everything it stands on.
        line: the bot's line to the broker.
        mosquitto: the broker, where it may be killed.
        postgres: the database, where it is one that may be crashed.
        rng: decides what happens and when.
    """

    standing: Standing
    line: Proxy
    mosquitto: Mosquitto | None
    postgres: Postgres | None
    rng: random.Random
    faults: Counter[str] = field(default_factory=Counter)
    kept_by_broker: list[tuple[float, bytes]] = field(default_factory=list)

    def rage(self, scale: Scale, senders: list[Sender], todo: list[tuple[int, Plan]]) -> None:
        """Send everything, and break everything as often as the scale says, in one long shuffle."""
        blows: list[Callable[[], None]] = [self._kill_bot] * scale.bot_kills + [self._break_line] * scale.line_faults
        if self.mosquitto is not None:
            blows += [self._kill_broker] * scale.broker_kills
        if self.postgres is not None:
            blows += [self._crash_database] * scale.broker_kills
        self.rng.shuffle(blows)
        per_blow = -(-len(todo) // len(blows))
        for number, blow in enumerate(blows):
            share = todo[number * per_blow : (number + 1) * per_blow]
            pause_s, at = self.rng.uniform(0.2, 3.0) / (len(share) + 1), threading.Event()
            after_s = self.rng.uniform(0, 3.0)
            if share and self.rng.random() < _BURSTS:
                # All at once, at a bot that is there, and struck when it answers one of them and is at the others.
                senders[0].ask(Plan(f"storm-up-{number}", "request/ping", f'{{"id":"storm-up-{number}"}}'), _SETTLED_S)
                pause_s, after_s = 0, _PATIENCE_S
                client, plan = self.rng.choice(share[: len(share) // 2 + 1])
                senders[client].on_first_response[plan.id] = at.set
            struck = threading.Thread(target=self._strike, args=(at, after_s, blow))
            struck.start()
            for client, plan in share:
                senders[client].send(plan)
                time.sleep(pause_s)
            struck.join()

    def _strike(self, at: threading.Event, after_s: float, blow: Callable[[], None]) -> None:
        at.wait(after_s)
        blow()

    def _kill_bot(self) -> None:
        self.standing.bot.kill()
        self.faults["bot_kills"] += 1
        self.standing.bot.start()

    def _kill_broker(self) -> None:
        assert self.mosquitto is not None
        kept = self.mosquitto.kill()
        self.kept_by_broker.append((time.monotonic(), kept))
        self.faults["broker_kills"] += 1
        time.sleep(self.rng.uniform(0, 1))
        self.mosquitto.start()

    def _crash_database(self) -> None:
        assert self.postgres is not None
        self.postgres.stop(signal.SIGQUIT)
        self.faults["database_crashes"] += 1
        time.sleep(self.rng.uniform(0, 1))
        self.postgres.start()

    def _slow_down(self) -> None:
        self.line.trickle(20)

    def _break_line(self) -> None:
        how = self.rng.choice([self.line.cut, self.line.stall, self._slow_down])
        how()
        self.faults["line_faults"] += 1
        time.sleep(self.rng.uniform(0, 2))
        if self.line.stalls:
            # What was held back by a line that hangs is not let through late: it is lost with the line.
            self.line.cut()
        self.line.mend()


@contextmanager
def stormed(
    folder: Path, where: str, version: str, mosquitto: Mosquitto | None, postgres: Postgres | None, scale: Scale
) -> Iterator[Aftermath]:
    """Live through the day and look at what is left of it."""
    rng = chance(f"storm on {where}")
    with ExitStack() as stack:
        here = stack.enter_context(standing(folder, mosquitto, version, postgres=postgres))
        audit = Audit(here.database)
        senders = [
            stack.enter_context(Sender(here.broker_port, f"storm-{number}", VERSIONS[version]))
            for number in range(CLIENTS)
        ]
        storm = Storm(here, here.line, mosquitto, postgres, rng)
        storm.rage(scale, senders, plans(rng, scale.commands))
        for sender in senders:
            sender.all_acknowledged(_SETTLED_S)
        until(lambda: _is_settled(here.bot, audit, senders), "an end and an answer for every command", _SETTLED_S)
        quiet = [
            senders[0].ask(Plan(f"quiet-{number}", "request/ping", f'{{"id":"quiet-{number}"}}'))
            for number in range(scale.quiet_commands)
        ]
        disagreements = here.disagreements(audit)
        here.flatten()
        disagreements += here.disagreements(audit)
        yield Aftermath(
            {each: sending for sender in senders for each, sending in sender.sendings.items() if "quiet" not in each},
            audit.commands(),
            audit.ends(),
            audit.mode_seqs(),
            audit.settings("tp_ratio"),
            here.accepted_cloids(),
            storm.kept_by_broker,
            storm.faults,
            quiet,
            disagreements,
        )


def _is_settled(bot: Bot, audit: Audit, senders: list[Sender]) -> bool:
    assert bot.is_alive(), f"the bot ended by itself: {bot.log.read_text()[-8000:]}"
    commands = audit.commands()
    journaled = {command.id for command in commands}
    wanted = set().union(*(sender.acknowledged() for sender in senders))
    # What the broker itself has lost never comes; whether that is all, the aftermath tells.
    return len(wanted - journaled) < 5 and all(command.answered and command.status in ENDS for command in commands)

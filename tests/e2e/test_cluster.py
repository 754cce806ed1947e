"""A clustered broker whose node is killed under the bot, in the middle of commands: none is lost, none runs twice."""

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from tests.guarantees.audit import ENDS, Audit
from tests.guarantees.record import record
from tests.guarantees.sender import Plan, Sender
from tests.support import cluster
from tests.support.client import Watcher
from tests.support.cluster import Cluster
from tests.support.net import until
from tests.support.program import CHECKOUT, Bot
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.real_peers, pytest.mark.timeout(300)]

COMMANDS = 600


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Cluster]:
    if cluster.REDIS is None or not (cluster.ROOT / "node_modules").exists():
        pytest.skip("aedes and Redis are not installed: tests/e2e/install_aedes")
    running = Cluster(tmp_path / "cluster")
    yield running
    running.end()


def plan(number: int) -> Plan:
    # A value of its own for each, so that an effect tells which command it is of.
    value = f"{1 + number / 10_000:.4f}"
    payload = f'{{"value":{value},"id":"command-{number}"}}'
    return Plan(f"command-{number}", "config/price_gap_pct/set", payload, value=value)


SENT = {plan(number).id for number in range(COMMANDS)}


def ended(audit: Audit) -> set[str | None]:
    return {command.id for command in audit.commands() if command.status in ENDS and command.answered}


def unanswered(senders: list[Sender]) -> set[str]:
    return SENT.difference(*(sender.answered() for sender in senders))


def test_the_bots_node_dies_under_load(nodes: Cluster, tmp_path: Path) -> None:
    dying, *others = nodes.nodes
    # What a load balancer in front of the nodes does.
    with Proxy(dying.port) as balancer:
        bot = Bot(CHECKOUT, tmp_path / "bot", {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(balancer.port)})
        bot.start()
        try:
            senders = [Sender(node.port, f"sender-{node.port}", MQTTProtocolVersion.MQTTv311) for node in others]
            with senders[0], senders[1], Watcher(others[0].port) as watcher:
                watcher.wait("availability", "online", 60)
                audit = Audit(bot.folder / "data" / "bot.sqlite3")
                for number in range(COMMANDS):
                    senders[number % 2].send(plan(number))
                    if number == COMMANDS // 2:
                        until(lambda: sum(len(each.answered()) for each in senders) > COMMANDS // 10, "answers", 60)
                        balancer.target_port = others[0].port
                        dying.end(signal.SIGKILL)
                for sender in senders:
                    sender.all_acknowledged(60)
                until(lambda: ended(audit) >= SENT, "the end of each", 120)
                # An answer that the dying node had acknowledged and not passed on waits until its receiver comes back.
                # Who does not want to wait sends the command again, with its id.
                until(lambda: len(unanswered(senders)) < COMMANDS // 10, "the answers", 60)
                late = unanswered(senders)
                for number in range(COMMANDS):
                    if plan(number).id in late:
                        senders[number % 2].send(plan(number))
                until(lambda: not unanswered(senders), "an answer to each", 60)
                # The cluster tells the will of the node's clients when the bot is long back.
                until(lambda: b"offline" in watcher.all("availability"), "the will", 30)
                watcher.wait("availability", "online")
        finally:
            bot.stop()
        first = [command for command in audit.commands() if command.duplicate_of is None and command.id in SENT]
        executed = len([command for command in first if command.status == "EXECUTED"])
        effects = Counter(audit.settings("price_gap_pct"))
        doubled = [value for value, times in effects.items() if times > 1]
        lost = SENT - ended(audit)
        record("G1", "aedes and Redis, 3 nodes, the bot's killed", sent=COMMANDS, executed=executed, lost=len(lost),
               doubled=len(doubled), asked_again=len(late))  # fmt: skip
        assert lost == set()
        assert len(first) == COMMANDS
        assert doubled == []
        assert len(effects) == executed > COMMANDS // 10

"""G13: only who may, can: every role on every topic of the shipped broker, every way to log in, every way not to."""

import os
import shutil
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from allora_mqtt.discovery.device import config_topic
from allora_mqtt.protocol.topics import Address, Event, Slot, Topics
from tests.conftest import ROOT
from tests.guarantees.record import record
from tests.support.guest import Guest, RefusedError, Version
from tests.support.mosquitto import MOSQUITTO
from tests.support.net import until
from tests.support.production_broker import CERTIFICATE, PLAIN, TLS, WEBSOCKETS, ProductionBroker
from tests.support.program import CHECKOUT

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (apt-get install mosquitto)"),
]

ROLES: Final = ("bot", "operator", "viewer", "home-assistant")
REFUSED: Final = "Not authorized"
PAGE: Final = ROOT / "docs" / "brokers.md"
BEGIN, END = "<!-- roles: made by tests/guarantees/test_g13_only_who_may_can.py -->", "<!-- end of roles -->"
RIGHTS: Final = {(True, True): "reads, writes", (True, False): "reads", (False, True): "writes", (False, False): "no"}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProductionBroker]:
    broker = ProductionBroker(tmp_path_factory.mktemp("production"))
    for role in ROLES:
        broker.add(role, role, "-c")
        broker.add(f"alices-{role}", role, "-b", "bots/alice")
    broker.add("fleet-viewer", "viewer", "-b", "bots/+")
    broker.add("fleet-operator", "operator", "-b", "bots/+")
    # Somebody to look at everything, in lines that were added by hand.
    broker.add("witness", "viewer")
    with (broker.files / "acl").open("a") as acl:
        acl.write("topic readwrite #\n")
    broker.start()
    yield broker
    broker.stop()


def enter(broker: ProductionBroker, name: str, version: Version = "5") -> Guest:
    return Guest(broker.port, (name, broker.password(name)), version)


def topics_by_kind(base: str) -> dict[str, list[str]]:
    """Return every topic of the contract, and some beside it, with what they are."""
    topics = Topics(base)
    commands = [topics.command(Address(slot, "" if slot in {Slot.MODE, Slot.CRYPTOS, Slot.CONFIG} else part))
                for slot, part in zip(Slot, ("", "", "BTC", "", "max_leverage", "flatten"), strict=True)]  # fmt: skip
    return {
        f"state: `{base}/mode`, `status`, `account`, …": [*topics.state_topics(), topics.crypto("BTC")],
        f"signs of life and events: `{base}/heartbeat`, `event/…`": [topics.heartbeat, *map(topics.event, Event)],
        f"answers: `{base}/response/…`": [topics.response(name) for name in ("mode", "flatten")],
        f"commands: `{base}/mode/set`, `cryptos/BTC/set`, `request/flatten`, …": commands,
        f"anything else under `{base}`": [
            f"{base}/{tail}" for tail in ("mode/set/x", "x/set", "request/a/b", "cryptos/a/b/set", "request", "set")
        ],
        "the bot's discovery topic": [config_topic("homeassistant", topics)],
        "`homeassistant/status`": ["homeassistant/status"],
        "any other discovery topic": ["homeassistant/device/tv/config", "homeassistant/sensor/a/b/config"],
        "another bot's": ["bots/bob/status", "bots/bob/mode/set", "botnet/mode/set", f"{base}s/x"],
        "the rest": ["elsewhere", "elsewhere/x"],
    }


def rights(broker: ProductionBroker, name: str, topics: list[str], version: Version) -> dict[str, tuple[bool, bool]]:
    """Try a user on topics: what is published by it and seen, and what is published by others and reaches it."""
    mine, live, kept, mark = (uuid.uuid4().hex.encode() for _ in range(4))
    with enter(broker, "witness") as witness, enter(broker, name, version) as guest:
        witness.subscribe("#")
        guest.subscribe("#", "+/#", "bots/+/#", *topics)
        answers = {topic: guest.publish(topic, mine, retain=True) for topic in topics}
        witness.publish("mark", mark)
        until(lambda: witness.topics_of(mark), "the mark")
        written = witness.topics_of(mine)
        # 3.1.1 has no way to say no: the broker acknowledges, and drops.
        assert set(answers.values()) <= {"Success", REFUSED}
        assert version == "3.1.1" or written == {topic for topic in topics if answers[topic] == "Success"}
        for topic in topics:
            assert witness.publish(topic, live) == witness.publish(topic, kept, retain=True) == "Success"
        guest.subscribe("mark")
        with enter(broker, name, version) as late:
            late.subscribe("#", *topics)
            late.subscribe("mark")
            read = guest.topics_of(live)
            assert late.topics_of(kept) == read
        for topic in topics:
            witness.publish(topic, b"", retain=True)
    return {topic: (topic in read, topic in written) for topic in topics}


@pytest.mark.parametrize("base", ["bot", "bots/alice"])
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_every_role_may_do_with_every_topic_what_the_documentation_says(
    broker: ProductionBroker, version: Version, base: str
) -> None:
    kinds, tried = topics_by_kind(base), 0
    rows = {kind: [kind.replace(base, "bot")] for kind in kinds}
    for role in ROLES:
        name = role if base == "bot" else f"alices-{role}"
        seen = rights(broker, name, [topic for topics in kinds.values() for topic in topics], version)
        tried += 2 * len(seen)
        for kind, topics in kinds.items():
            found = {seen[topic] for topic in topics}
            assert len(found) == 1, f"{role} has not the same rights on all of {kind}: {seen}"
            rows[kind].append(RIGHTS[found.pop()])
    lines = [f"| | {' | '.join(f'`{role}`' for role in ROLES)} |", "|---|" + "---|" * len(ROLES)]
    lines += [f"| {' | '.join(row)} |" for row in rows.values()]
    table = "\n".join(lines)
    print(table)  # noqa: T201 - this is what goes into the documentation
    record("G13", f"every role on every topic, MQTT {version}, base {base}", tried=tried, differences=0)
    assert PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip() == table


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_an_operator_of_a_fleet_has_every_bot_under_it_and_no_other(broker: ProductionBroker, version: Version) -> None:
    topics = [f"bots/{name}/{tail}" for name in ("alice", "bob") for tail in ("status", "mode/set", "request/flatten")]
    beside = ["bot/status", "bot/mode/set", "bots/mode/set", "bots/a/b/mode/set", "bots/request/flatten"]
    may = rights(broker, "fleet-operator", topics + beside, version)
    assert {topic for topic in may if may[topic] != (False, False)} == {*topics, "bots/mode/set", "bots/a/b/mode/set",
        "bots/request/flatten"}  # fmt: skip
    assert {topic for topic in may if may[topic][1]} == {topic for topic in topics if not topic.endswith("status")}
    watched = rights(broker, "fleet-viewer", topics + beside, version)
    assert not any(writes for _, writes in watched.values())


class TestWithoutALogin:
    @pytest.mark.parametrize("version", ["5", "3.1.1"])
    @pytest.mark.parametrize("listener", [PLAIN, TLS, WEBSOCKETS])
    @pytest.mark.parametrize(
        "login",
        [None, ("bot", "wrong"), ("bot", ""), ("nobody", "x"), ("", ""), ("viewer", "password of the bot")],
        ids=["anonymous", "wrong password", "empty password", "unknown name", "empty name", "somebody else's password"],
    )
    def test_nobody_comes_in(
        self, broker: ProductionBroker, listener: int, version: Version, login: tuple[str, str] | None
    ) -> None:
        if login == ("viewer", "password of the bot"):
            login = ("viewer", broker.password("bot"))
        guest = Guest(
            broker.ports[listener],
            login,
            version,
            tls=None if listener == PLAIN else broker.trusting(),
            websockets=listener == WEBSOCKETS,
        )
        with pytest.raises(RefusedError, match=r"(?i)not authori[sz]ed|bad user ?name or password"), guest:
            pass


@pytest.fixture(scope="module")
def strangers(broker: ProductionBroker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Certificates that open nothing, by what is wrong with them."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    foreign = ProductionBroker(elsewhere)
    foreign.add("bot", "bot", "-c")
    broker.add("late", "bot")
    broker.access("certificate", "-t", "0", "late")
    own = elsewhere / "own"
    shutil.copytree(broker.client("bot"), own)
    words: list[str | Path] = ["-key", own / "client.key", "-out", own / "client.crt", "-subj", "/CN=bot", "-x509"]
    subprocess.run(["openssl", "req", "-new", "-days", "9", *words], check=True, capture_output=True)
    server = elsewhere / "server"
    server.mkdir()
    for kind in ("crt", "key"):
        shutil.copy(broker.files / "certs" / f"server.{kind}", server / f"client.{kind}")
    check: list[str | Path] = [
        "openssl",
        "x509",
        "-noout",
        "-checkend",
        "0",
        "-in",
        broker.client("late") / "client.crt",
    ]
    until(lambda: subprocess.run(check, check=False, capture_output=True).returncode != 0, "the certificate's end")
    return {
        "a foreign CA's": foreign.client("bot"),
        "expired": broker.client("late"),
        "signed by itself": own,
        "the broker's own": server,
    }


class TestCertificates:
    def enter(self, broker: ProductionBroker, tls: ssl.SSLContext, login: tuple[str, str] | None = None) -> Guest:
        return Guest(broker.ports[CERTIFICATE], login, tls=tls)

    @pytest.mark.parametrize("which", ["a foreign CA's", "expired", "signed by itself", "the broker's own", "none"])
    def test_one_that_is_not_good_opens_nothing_even_with_a_password(
        self, broker: ProductionBroker, strangers: dict[str, Path], which: str
    ) -> None:
        tls = broker.trusting()
        if which != "none":
            tls.load_cert_chain(strangers[which] / "client.crt", strangers[which] / "client.key")
        before = len(broker.said())
        with pytest.raises(RefusedError), self.enter(broker, tls, ("bot", broker.password("bot"))):
            pass
        why = "peer did not return a certificate" if which == "none" else "certificate verify failed"
        until(lambda: why in broker.said()[before:], why)

    @pytest.mark.parametrize("role", ROLES)
    def test_a_good_one_is_the_name_whatever_name_is_said(self, broker: ProductionBroker, role: str) -> None:
        for login in (None, ("bot", broker.password("bot"))):
            with self.enter(broker, broker.trusting(role), login) as guest:
                assert (guest.publish("bot/mode/set", b"STANDBY") == REFUSED) is (role == "viewer")
                assert (guest.publish("bot/mode", b"ACTIVE") == REFUSED) is (role != "bot")

    def test_one_of_a_user_who_was_removed_may_do_nothing(self, broker: ProductionBroker) -> None:
        broker.add("leaver", "operator", "-c")
        tls, login = broker.trusting("leaver"), ("leaver", broker.password("leaver"))
        broker.reload()
        with Guest(broker.port, login) as guest, self.enter(broker, tls) as by_certificate:
            assert guest.publish("bot/request/ping", b"") == by_certificate.publish("bot/request/ping", b"") != REFUSED
            broker.access("remove", "leaver")
            broker.reload()
            until(lambda: not guest.is_connected(), "the user thrown out")
            until(lambda: by_certificate.publish("bot/request/ping", b"") == REFUSED, "the certificate without rights")
        with pytest.raises(RefusedError), Guest(broker.port, login):
            pass


class TestTheClientsOfTheBotsOwn:
    """The bot and the command line look at the broker's certificate."""

    def ping(self, broker: ProductionBroker, **settings: str) -> str:
        environment = {**os.environ, **broker.settings("operator", TLS), **settings}
        done = subprocess.run(
            [CHECKOUT, "ping"], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode != 0
        return done.stdout + done.stderr

    def test_a_foreign_ca_and_another_host_name_are_refused(
        self, broker: ProductionBroker, strangers: dict[str, Path]
    ) -> None:
        said = self.ping(broker, MQTT_TLS_CA=str(strangers["a foreign CA's"] / "ca.crt"))
        assert "certificate verify failed" in said
        said = self.ping(broker, MQTT_HOST="127.0.0.2")
        assert "IP address mismatch" in said

    def test_an_expired_one_is_refused(self, tmp_path: Path) -> None:
        broker = ProductionBroker(tmp_path)
        broker.access("init", "-t", "0", "broker.lan")
        broker.add("operator", "operator")
        broker.start()
        try:
            until(lambda: "certificate has expired" in self.ping(broker), "the expiry")
        finally:
            broker.stop()


class TestWebsockets:
    def test_a_dashboard_reads_and_the_roles_hold(self, broker: ProductionBroker) -> None:
        def enter(name: str) -> Guest:
            login = (name, broker.password(name))
            return Guest(broker.ports[WEBSOCKETS], login, tls=broker.trusting(), websockets=True)

        with enter("viewer") as viewer, enter("operator") as operator, enter("bot") as bot:
            viewer.subscribe("bot/#")
            assert bot.publish("bot/mode", b"STANDBY") == "Success"
            assert operator.publish("bot/request/ping", b"hello") == "Success"
            assert operator.publish("bot/mode", b"ACTIVE") == REFUSED
            assert viewer.publish("bot/request/ping", b"me too") == REFUSED
            until(lambda: viewer.topics_of(b"hello"), "the command")
            assert [(topic, payload) for topic, payload, _ in viewer.seen] == [
                ("bot/mode", b"STANDBY"), ("bot/request/ping", b"hello")]  # fmt: skip

    @pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # paho leaves a socket that did not become one
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the same, as pytest tells it
    def test_without_tls_nobody_comes_in(self, broker: ProductionBroker) -> None:
        for listener, websockets in ((WEBSOCKETS, True), (TLS, False), (CERTIFICATE, False)):
            guest = Guest(broker.ports[listener], ("bot", broker.password("bot")), websockets=websockets)
            with pytest.raises(RefusedError), guest:
                pass

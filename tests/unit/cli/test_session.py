from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from allora_mqtt.configuration import load
from allora_mqtt.protocol.commands import Close, SetConfig, SetCryptos
from allora_mqtt_cli import session
from allora_mqtt_cli.broker import Broker
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)


@pytest.fixture
def invocation() -> Invocation:
    return Invocation(new_id=lambda: "id-1", now=lambda: NOW)


def test_the_envelope(invocation: Invocation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "getpass", SimpleNamespace(getuser=lambda: "alice"))
    envelope = session.envelope(invocation)
    assert envelope.model_dump(exclude_none=True) == {"id": "id-1", "issued_at": NOW, "source": "cli:alice"}
    assert session.envelope(invocation, 30).expires_at == NOW + timedelta(seconds=30)


def test_a_user_without_a_name_can_send(invocation: Invocation, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise OSError

    monkeypatch.setattr(session, "getpass", SimpleNamespace(getuser=nobody))
    assert session.envelope(invocation).source == "cli:unknown"


def test_each_run_has_ids_of_its_own() -> None:
    first, second = session.envelope(Invocation()), session.envelope(Invocation())
    assert first.id != second.id
    assert len(first.id or "") == 32


def test_arguments_the_contract_does_not_allow() -> None:
    with pytest.raises(CliError, match=r"symbol: .*pattern") as caught:
        session.build(Close, {"symbol": "B/T"})
    assert caught.value.exit_code is ExitCode.USAGE
    assert session.build(SetCryptos, {"value": "BTC:14,ETH"}) == SetCryptos(value={"BTC": 14, "ETH": None})
    assert session.build(SetConfig, {"value": {"a": 1}}) == SetConfig(value={"a": 1})


def test_the_embedded_broker_is_spoken_to_in_3_1_1_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MQTT_HOST", raising=False)
    embedded = Broker.of(load({"EMBEDDED_BROKER_BIND": "127.0.0.1:1999"}).settings)
    assert (embedded.address, [int(version) for version in embedded.versions]) == ("127.0.0.1:1999", [4])


def test_a_password_is_not_in_what_a_traceback_prints() -> None:
    broker = Broker.of(load({"MQTT_HOST": "broker", "MQTT_USERNAME": "bot", "MQTT_PASSWORD": "hunter2"}).settings)
    assert broker.password == "hunter2"  # noqa: S105 - made up
    assert "hunter2" not in repr(broker)


def test_another_broker_is_asked_for_5_first() -> None:
    external = Broker.of(load({"MQTT_HOST": "broker", "MQTT_TLS": True}).settings)
    assert (external.address, [int(version) for version in external.versions]) == ("broker:8883", [5, 4])
    assert external.tls is not None

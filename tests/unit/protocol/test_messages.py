import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from allora_mqtt.protocol import messages
from allora_mqtt.protocol.messages import Availability, HealthState, Heartbeat, Response, Status
from tests.unit.protocol.strategies import instances

MODELS = [
    kind
    for kind in vars(messages).values()
    if isinstance(kind, type)
    and issubclass(kind, BaseModel)
    and kind.__module__ == messages.__name__
    and "[" not in kind.__name__
]

FIELDS = {
    "Response": "id name status data warnings error transaction source received_at executed_at duration_ms revision "
    "signed_by",
    "BotStatus": "mode since reason health warnings network active_cryptos equity_usd daily_pnl_usd exposure_usd "
    "open_positions last_signal last_order breakers requests signed_commands uptime_s version instance_id revision",
    "Heartbeat": "seq at uptime_s mode revision instance_id loop_lag_ms",
    "CryptoState": "state topic_id price volume_24h prediction gap_pct signal confidence skill_pct "
    "skill_samples position updated_at",
    "CatalogEntry": "availability topics max_leverage",
    "TopicView": "id kind horizon",
    "Health": "mqtt hyperliquid hyperliquid_exchange allora store",
    "DependencyHealth": "state breaker last_success_at latency_p50_ms latency_p99_ms last_error",
    "SettingState": "value min max step unit",
}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_message_survives_json(model: type[BaseModel], data: st.DataObject) -> None:
    message = data.draw(instances(model))
    encoded = message.model_dump_json().encode("utf-8")
    assert model.model_validate_json(encoded) == message
    assert json.loads(encoded) == json.loads(json.dumps(message.model_dump(mode="json"), allow_nan=False))


@pytest.mark.parametrize("model", FIELDS)
def test_the_fields_are_those_of_the_contract(model: str) -> None:
    assert set(getattr(messages, model).model_fields) == set(FIELDS[model].split())


def test_a_response_says_everything_even_what_is_empty() -> None:
    written = Response.model_validate(
        {"id": None, "name": "mode", "status": "EXECUTED", "received_at": "2026-11-20T10:00:00Z",
         "executed_at": "2026-11-20T11:00:00.0039+01:00", "duration_ms": 3.1, "revision": 42}
    ).model_dump_json()  # fmt: skip
    assert json.loads(written) == {
        "id": None,
        "name": "mode",
        "status": "EXECUTED",
        "data": {},
        "warnings": [],
        "error": None,
        "transaction": None,
        "source": None,
        "received_at": "2026-11-20T10:00:00.000Z",
        "executed_at": "2026-11-20T10:00:00.003Z",
        "duration_ms": 3.1,
        "revision": 42,
        "signed_by": None,
    }


def test_a_command_ends_in_one_of_six_ways() -> None:
    assert set(Status) == {"EXECUTED", "REJECTED", "FAILED", "EXPIRED", "DUPLICATE", "SUPERSEDED"}


def test_the_bare_words_are_those_of_the_contract() -> None:
    assert set(Availability) == {"online", "offline"}
    assert set(HealthState) == {"ok", "degraded", "tripped"}


BEAT: dict[str, Any] = {
    "seq": 1, "at": "2026-11-20T10:00:00Z", "uptime_s": 1.5, "mode": "STANDBY", "revision": 0, "instance_id": "a",
    "loop_lag_ms": 0.1,
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [{"uptime_s": "NaN"}, {"uptime_s": float("inf")}, {"mode": "standby"}, {"at": "2026-11-20T10:00:00"}, {"more": 1}],
)
def test_a_message_that_is_not_of_the_contract_is_refused(change: dict[str, Any]) -> None:
    assert Heartbeat.model_validate(BEAT).seq == 1
    with pytest.raises(ValidationError):
        Heartbeat.model_validate(BEAT | change)

import logging
from importlib.metadata import EntryPoint
from typing import Any

import aiohttp
import pytest

from allora_mqtt import thoughts
from allora_mqtt.settings import ReviewerSettings, Settings
from allora_mqtt.surroundings import CannotStart


@pytest.fixture(autouse=True)
def offered(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    offers: list[EntryPoint] = []
    monkeypatch.setattr(thoughts, "entry_points", lambda group: [offer for offer in offers if offer.group == group])
    return offers


def test_a_strategy_that_nobody_offers_is_an_error_at_the_start_with_those_there_are() -> None:
    with pytest.raises(CannotStart, match="TRADE_STRATEGY: there is no strategy 'magic'; there are: allora_gap, vol"):
        thoughts._strategies("magic", "allora_gap")


def test_one_that_was_set_earlier_and_is_gone_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    assert "magic" not in thoughts._strategies("allora_gap", "magic")
    assert "'magic'" in caplog.text
    assert "no entries" in caplog.text


def test_an_offer_that_cannot_be_used_is_told_of(offered: list[EntryPoint], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    offered.append(EntryPoint("allora_gap", "somewhere:rule", "allora_mqtt.strategies"))
    assert list(thoughts._strategies("allora_gap", "allora_gap")) == ["allora_gap", "volatility"]
    assert "the name of a built-in one" in caplog.text


@pytest.mark.parametrize(("bot", "network"), [({}, "sim"), ({"network": "testnet"}, "allora-testnet-1")])
def test_what_is_learnt_on_one_network_is_not_believed_on_another(bot: dict[str, Any], network: str) -> None:
    given = {"bot": bot, "hl": {"secret_key": "1f" * 32}, "allora": {"api_key": "k", "chain": "allora-testnet-1"}}
    assert thoughts._prediction_network(Settings.model_validate(given)) == network


async def test_one_model_and_key_serve_all_endpoints_and_all_must_approve() -> None:
    given = {"urls": "https://a/v1,https://b/v1", "models": "m", "api_keys": "k"}
    async with aiohttp.ClientSession() as session:
        panel = thoughts._panel(ReviewerSettings.model_validate(given), session)
        assert panel is not None
        assert [(each.url, each.model, each.key) for each in panel._reviewers] == [
            ("https://a/v1", "m", "k"),
            ("https://b/v1", "m", "k"),
        ]
        assert panel._quorum == 2
        assert thoughts._panel(ReviewerSettings(), session) is None

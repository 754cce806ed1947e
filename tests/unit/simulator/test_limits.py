from decimal import Decimal

from allora_mqtt.simulator.limits import IpLimiter, exchange_weight, info_weight, rate_limit_view, spend_budget
from tests.unit.simulator.bench import Bench


def test_weights() -> None:
    assert [info_weight(kind) for kind in ("allMids", "userRole", "userFills")] == [2, 60, 20]
    assert [exchange_weight(batch) for batch in (1, 39, 40, 80)] == [1, 1, 2, 3]


def test_an_address_may_spend_1200_a_minute() -> None:
    limiter = IpLimiter()
    assert all(limiter.allows("a", 20, float(second)) for second in range(60))
    assert not limiter.allows("a", 2, 59.5)
    assert limiter.allows("b", 2, 59.5)
    assert limiter.allows("a", 20, 60.5)
    assert not limiter.allows("a", 20, 60.6)


def test_the_budget_grows_with_volume_and_ends_in_one_action_in_ten_seconds(bench: Bench) -> None:
    account = bench.account
    account.action_count = 10_005
    account.volume_usd = Decimal(5)
    first = spend_budget(account, 1, 100.0, is_cancel=False, is_enforced=True)
    second = spend_budget(account, 1, 109.0, is_cancel=False, is_enforced=True)
    assert first is None
    assert second is not None
    assert second.startswith("Too many cumulative requests sent")
    assert spend_budget(account, 1, 109.0, is_cancel=True, is_enforced=True) is None
    assert spend_budget(account, 1, 109.0, is_cancel=False, is_enforced=False) is None
    assert rate_limit_view(account)["nRequestsCap"] == 10_005

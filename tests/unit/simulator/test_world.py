import random

from allora_mqtt.simulator.faults import FaultBook
from allora_mqtt.simulator.state import StateFile
from allora_mqtt.simulator.world import World
from tests.unit.simulator.bench import ETH, OWNER, Bench, market_order


def test_a_lagging_account_is_the_one_of_some_seconds_ago(bench: Bench) -> None:
    faults = FaultBook(random.Random(1))  # noqa: S311 -- not for secrets
    world = World(bench.market, bench.exchange, StateFile(None), faults, lambda: bench.now_s, None)
    for _ in range(3):
        world.remember(bench.account, bench.now_s)
        bench.place(market_order(ETH, "1"))
        world.remember(bench.account, bench.now_s)
        bench.go(10)
    assert world.account(OWNER).szi(ETH) == 3
    assert world.lagging(bench.account, 5).szi(ETH) == 3
    assert world.lagging(bench.account, 15).szi(ETH) == 2
    assert world.lagging(bench.account, 1_000).szi(ETH) == 0

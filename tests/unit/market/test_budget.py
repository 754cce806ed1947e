"""The request budget, alone and against the simulator's own count of the same limits."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allora_mqtt.market.budget import (
    ACTIONS_IN_RESERVE,
    RequestBudget,
    Spent,
    Use,
    action_weight,
    info_weight,
    rows_weight,
)
from allora_mqtt.simulator import limits as simulator

READS = (Use.ACCOUNT, Use.QUOTES, Use.CATALOG)


def used(budget: RequestBudget, use: Use, weight: int, now: float) -> None:
    budget.done(budget.spend(use, weight), now)


@pytest.mark.parametrize("kind", ["l2Book", "allMids", "clearinghouseState", "orderStatus", "spotClearinghouseState",
                                  "exchangeStatus", "meta", "metaAndAssetCtxs", "frontendOpenOrders", "userFillsByTime",
                                  "userRateLimit", "userAbstraction"])  # fmt: skip
def test_each_question_weighs_what_the_exchange_says(kind: str) -> None:
    assert info_weight(kind) == simulator.info_weight(kind)


@pytest.mark.parametrize("batch", [1, 3, 39, 40, 79, 80, 400])
def test_an_action_weighs_by_its_batch(batch: int) -> None:
    assert action_weight(batch) == simulator.exchange_weight(batch)


def test_long_lists_cost_more() -> None:
    assert [rows_weight(rows) for rows in (0, 19, 20, 2000)] == [0, 0, 1, 100]


def test_what_was_answered_counts_for_a_minute_and_what_was_not_counts_on() -> None:
    budget = RequestBudget()
    used(budget, Use.ACCOUNT, 20, 100)
    hanging = budget.spend(Use.ACCOUNT, 7)
    assert [budget.figures(now).weight_used for now in (100, 159.9, 160, 500)] == [27, 27, 7, 7]
    budget.done(hanging, 500, extra_weight=5)
    assert [budget.figures(now).weight_used for now in (559.9, 560)] == [12, 0]


@pytest.mark.parametrize(
    ("use", "ends_at"), [(Use.EXIT, 1160), (Use.ACCOUNT, 840), (Use.QUOTES, 720), (Use.CATALOG, 480)]
)
def test_the_less_important_a_reading_the_sooner_it_waits(use: Use, ends_at: int) -> None:
    budget = RequestBudget()
    used(budget, Use.EXIT, ends_at - 300, 100)
    used(budget, use, 280, 130)
    assert budget.wait_s(use, 20, 131) == 0
    used(budget, use, 20, 131)
    assert budget.wait_s(use, 20, 131) == 29, "until what was sent first is a minute old"
    assert budget.wait_s(use, 20, 160) == 0


@pytest.mark.parametrize(("use", "share"), [(Use.ACCOUNT, 240), (Use.QUOTES, 240), (Use.CATALOG, 60)])
def test_what_is_more_important_starves_nobody(use: Use, share: int) -> None:
    budget = RequestBudget()
    used(budget, Use.ACCOUNT if use is not Use.ACCOUNT else Use.QUOTES, 900 - share, 100)
    for _ in range(share // 20):
        assert budget.wait_s(use, 20, 101) == 0
        used(budget, use, 20, 101)
    assert budget.wait_s(use, 20, 101) > 0


def test_reading_leaves_room_for_exits_and_exits_leave_room_for_orders() -> None:
    budget = RequestBudget()
    for use in READS * 100:
        if budget.wait_s(use, 20, 100) == 0:
            used(budget, use, 20, 100)
    assert budget.figures(100).weight_used <= 900
    budget.refused(100)
    while budget.wait_s(Use.EXIT, 20, 100) == 0:
        used(budget, Use.EXIT, 20, 100)
    assert 1144 < budget.figures(100).weight_used <= 1164
    assert all(budget.wait_s(use, 2, 100) > 0 for use in READS)


def test_quotes_keep_the_interval_that_was_asked_for_where_there_is_room() -> None:
    budget = RequestBudget()
    assert budget.quote_interval_s(3, 20, 100) == 3
    assert budget.quote_interval_s(1, 20, 100) == pytest.approx(1200 / 720)
    used(budget, Use.ACCOUNT, 440, 100)
    used(budget, Use.QUOTES, 400, 100)
    assert budget.quote_interval_s(1, 20, 101) == pytest.approx(1200 / 280)
    used(budget, Use.ACCOUNT, 500, 101)
    assert budget.quote_interval_s(1, 20, 102) == pytest.approx(5), "its share stays"
    assert budget.figures(102).quote_interval_s == pytest.approx(5)


def test_a_refusal_pauses_all_reading_longer_each_time_until_things_went_well_for_a_minute() -> None:
    budget = RequestBudget()
    now = 100.0
    for pause_s in (10, 20, 40, 80, 120, 120):
        budget.refused(now)
        budget.refused(now + 1)
        waits = [budget.wait_s(use, 2, now + 1) for use in (Use.QUOTES, Use.CATALOG, Use.ACCOUNT, Use.EXIT)]
        assert waits[:2] == [pause_s - 1] * 2, "one that was on its way adds nothing"
        assert waits[2:] == [10, 0], "the account is looked at sooner, and what closes a position at once"
        assert budget.figures(now + 1).paused_s == pause_s - 1
        now += pause_s
        assert budget.wait_s(Use.QUOTES, 2, now) == 0
        budget.taken(now)
    budget.taken(now + 60)
    budget.refused(now + 60)
    assert budget.wait_s(Use.QUOTES, 2, now + 60) == 10


def test_entries_wait_until_it_is_known_how_many_actions_are_left() -> None:
    budget = RequestBudget()
    assert "not known yet" in (budget.obstacle() or "")
    budget.acted(3)
    budget.learn(100, 10_000, 0)
    assert budget.obstacle() is None
    assert (budget.figures(0).actions_used, budget.figures(0).actions_limit) == (100, 10_000)


def test_entries_end_before_the_account_has_used_up_its_actions() -> None:
    budget = RequestBudget()
    budget.learn(10_000 - ACTIONS_IN_RESERVE - 3, 10_000, 0)
    budget.acted(2)
    assert budget.obstacle() is None
    budget.acted(1)
    assert budget.obstacle() == "the account has used 9800 of its 10000 actions"
    budget.learn(9_800, 10_001, 60)
    assert budget.obstacle() is None, "trading has raised the limit"


def test_a_refusal_for_too_many_actions_is_believed() -> None:
    budget = RequestBudget()
    assert budget.should_ask(0)
    budget.learn(100, 10_000, 0)
    assert not budget.should_ask(500)
    assert budget.action_pause_s(500) == 0
    budget.exhausted(500)
    assert [budget.action_pause_s(now) for now in (500, 509, 510)] == [10, 1, 0]
    assert budget.obstacle() == "the account has used 10000 of its 10000 actions"
    assert budget.should_ask(500)
    assert not budget.should_ask(509), "one asks, and not for ever"
    assert budget.should_ask(510)


@pytest.mark.parametrize(("left", "again_in_s"), [(1000, 600), (999, 60)])
def test_the_exchanges_count_is_asked_for_more_often_near_its_end(left: int, again_in_s: int) -> None:
    budget = RequestBudget()
    budget.learn(10_000 - left, 10_000, 0)
    assert [budget.should_ask(now) for now in (again_in_s - 1, again_in_s)] == [False, True]


@dataclass
class Line:
    """The way to the simulator's limiter and back: requests arrive late and are answered later."""

    seed: int
    budget: RequestBudget = field(default_factory=RequestBudget)
    limiter: simulator.IpLimiter = field(default_factory=simulator.IpLimiter)
    refused: int = 0
    under_way: list[tuple[float, float, Spent | None, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311 - not for secrets

    def send(self, use: Use, weight: int, now: float) -> None:
        spent = self.budget.spend(use, weight)
        arrives = now + self.random.choice([0.0, 0.05, 0.5, 4.0])
        self.under_way.append((arrives, arrives + self.random.choice([0.0, 0.1, 1.0]), spent, weight))

    def until(self, now: float) -> None:
        """Let arrive and be answered what has by now, in the order in which that happens."""
        events = sorted(
            [(arrives, 0, spent, weight) for arrives, _, spent, weight in self.under_way if weight]
            + [(answered, 1, spent, 0) for _, answered, spent, _ in self.under_way],
            key=lambda event: event[:2],
        )
        arrived: set[int] = set()
        gone: set[int] = set()
        for at, kind, spent, weight in events:
            if at > now or spent is None:
                continue
            if kind == 0:
                arrived.add(id(spent))
                self.refused += not self.limiter.allows("", weight, at)
            else:
                gone.add(id(spent))
                self.budget.done(spent, at)
        self.under_way = [
            (arrives, answered, spent, 0 if id(spent) in arrived else weight)
            for arrives, answered, spent, weight in self.under_way
            if id(spent) not in gone
        ]


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32), interval_s=st.sampled_from([0.2, 1.0, 3.0]), exits=st.integers(0, 2))
def test_reading_as_fast_as_it_is_let_draws_no_refusal_from_the_exchange(
    seed: int, interval_s: float, exits: int
) -> None:
    line, now, next_quotes = Line(seed), 0.0, 0.0
    looks = 0
    while now < 200:
        line.until(now)
        if now >= next_quotes and line.budget.wait_s(Use.QUOTES, 20, now) == 0:
            line.send(Use.QUOTES, 20, now)
            next_quotes = now + line.budget.quote_interval_s(interval_s, 20, now)
            looks += 1
        if line.budget.wait_s(Use.ACCOUNT, 44, now) == 0:
            for weight in (2, 2, 20, 20):
                line.send(Use.ACCOUNT, weight, now)
        if line.budget.wait_s(Use.CATALOG, 20, now) == 0:
            line.send(Use.CATALOG, 20, now)
        if line.random.random() < exits * 0.1:
            line.send(Use.EXIT, 1, now)
        now += 0.2
    assert line.refused == 0
    assert looks > 200 / 10, "prices are read all the same"

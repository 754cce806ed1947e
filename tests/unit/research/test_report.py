"""The page holds everything it needs, and nothing that strangers wrote runs in it."""

from decimal import Decimal
from html.parser import HTMLParser

import pytest

from allora_mqtt.research.case import Case
from allora_mqtt.research.plots import wilson_pct
from allora_mqtt.research.predictions import Skill
from allora_mqtt.research.problems import ResearchError
from allora_mqtt.research.report import render
from allora_mqtt.research.result import Result, SweepCell, SweepResult, parse_result
from allora_mqtt.research.run import Assumptions
from allora_mqtt.research.summary import MAX_POINTS, joined, result_of, thinned
from allora_mqtt.research.sweep import rank_agreement
from tests.unit.research.test_by_hand import HISTORY, PREDICTIONS
from tests.unit.research.things import backtest, bars, series

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def result() -> Result:
    history = (series(HISTORY),)
    case = Case(history, PREDICTIONS, PREDICTIONS, (), Skill(0.2, 7, 28_800, 3600), 0)
    assumptions = Assumptions(Decimal(1000))
    trial = backtest(history, PREDICTIONS, assumptions, price_gap_pct=1, cooldown_s=7200)
    return result_of(case, trial.go(), trial._settings, assumptions, "A day")


@pytest.fixture(scope="module")
def page(result: Result) -> str:
    return render(result)


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_needs_no_network_and_stays_in_bounds(page: str) -> None:
    assert 1_000_000 < len(page.encode()) < 6_500_000
    tags = Tags(page).found
    assert all(name not in attributes for _, attributes in tags for name in ("src", "href", "action"))
    assert {tag for tag, _ in tags} >= {"section", "table", "script"}
    assert "default-src 'none'" in page


@pytest.mark.parametrize(
    "said",
    [
        *("Equity and drawdown", "Trades on BTC", "Hit rate by topic", "Profit and loss", "Results of trades"),
        *("SYNTHETIC_PREDICTIONS", "FEW_TRADES", "ONE_COIN", "SHORT_PERIOD", "COARSE_BARS"),
        *("Sharpe", "sqrt(365)", "Buy & hold", "price_gap_pct", "0.045", "seed 7", "SHA-256", "made-up.csv"),
        *("cooling down", "prediction_turned", "end_of_data"),
    ],
)
def test_the_page_says(page: str, said: str) -> None:
    assert said in page


def test_what_strangers_wrote_is_text_and_nothing_else(result: Result, page: str) -> None:
    document = result.model_dump(mode="json")
    document["title"] = document["version"] = EVIL
    document["price_bars"] = {EVIL: document["price_bars"]["BTC"]}
    document["settings"] = {EVIL: EVIL}
    document["refusals"] = {EVIL: 1}
    document["warnings"].append({"code": EVIL, "message": EVIL})
    document["prices"][0] |= {"files": [EVIL], "symbols": [EVIL], "sha256": EVIL}
    document["predictions"] |= {"kind": "recorded", "files": [EVIL, EVIL], "sha256": EVIL}
    for trade in document["trades"]:
        trade |= {"symbol": EVIL, "reason": EVIL}
    document["topics"][0]["symbol"] = EVIL
    document["tripped"] = [{"at": document["start"], "name": EVIL, "reason": EVIL}]
    evil = render(Result.model_validate(document))
    assert evil.count("alert(1)") > 20
    assert "<script>alert" not in evil
    assert "<img" not in evil
    # Plotly reads tags in its texts, however they are written in its JSON.
    assert "\\u003cscript\\u003ealert" not in evil
    tags = Tags(evil).found
    assert [tag for tag, _ in tags].count("script") == [tag for tag, _ in Tags(page).found].count("script")
    assert not any("onerror" in attributes for _, attributes in tags)


def test_the_json_is_the_same_each_time_and_can_be_read_back(result: Result, page: str) -> None:
    text = result.model_dump_json()
    again = parse_result(text, "result.json")
    assert isinstance(again, Result)
    assert again.model_dump_json() == text
    assert render(again) == page


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "allora-mqtt sweep 1"}', '{"format": "other"}'])
def test_what_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(ResearchError, match="BAD_RESULT"):
        parse_result(text, "x.json")


def cell(gap: str, train: int, test: int, base: Result) -> SweepCell:
    parts = [base.figures.model_copy(update={"return_pct": Decimal(share)}) for share in (train, test)]
    return SweepCell(
        price_gap_pct=Decimal(gap), tp_ratio=Decimal(1), sl_ratio=Decimal("0.5"), train=parts[0], test=parts[1]
    )


def test_the_page_of_a_sweep_is_sorted_by_the_part_to_choose_by(result: Result) -> None:
    cells = [cell("0.5", 1, 9, result), cell("1", 7, -3, result), cell("2", 4, 2, result)]
    sweep = SweepResult(
        version="1",
        title="Three",
        start=result.start,
        split=result.start,
        end=result.end,
        settings={},
        assumptions=result.assumptions,
        prices=result.prices,
        predictions=result.predictions,
        warnings=[],
        cells=cells,
    )
    page = render(sweep)
    places = [page.index(f">{gap} %</td>") for gap in ("1", "2", "0.5")]
    assert places == sorted(places)
    assert rank_agreement(cells) == pytest.approx(-1)
    assert "-1.00" in page
    assert parse_result(sweep.model_dump_json(), "s.json") == SweepResult.model_validate_json(sweep.model_dump_json())


def test_curves_are_thinned_without_losing_their_extremes() -> None:
    many = bars(*[(100, 101 + number % 7, 99 - number % 5, 100) for number in range(10_000)])
    found = joined(many)
    assert len(found) <= MAX_POINTS
    assert (max(bar.high for bar in found), min(bar.low for bar in found)) == (Decimal(107), Decimal(95))
    assert thinned([]) == []


def test_wilson_interval() -> None:
    low, high = wilson_pct(60, 100)
    assert (round(low, 1), round(high, 1)) == (50.2, 69.1)

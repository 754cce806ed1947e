"""A day that was computed by hand, to the last digit of the last cent.

An account of 1000 USD; 251.25 USD a trade at leverage 2, so that an entry at 50,000 or 50,250 is of 0.01 BTC; entries
from a gap of 1 % on, target at the whole gap, stop at half of it. Spread 2 bps, so that one buys at the mark x 1.0001,
rounded up to a whole dollar, and sells at the mark x 0.9999, rounded down. Fee 0.045 %. Funding 0.01 % an hour, paid
by a long and received by a short. After a stop two hours pass without entries.

hour  what happens                                                                       cash after it
 0    51,000 predicted at 50,000: buy at 50,005; fee 0.01 x 50,005 x 0.00045 =  0.225022      999.774978
 1    funding 0.01 x 50,100 x 0.0001 = 0.0501                                                 999.724878
 2    funding 0.0502                                                                          999.674678
      51,000 is reached: sell at 50,994; +9.89, fee 0.229473                                 1009.335205
 3    49,245 predicted at 50,250: sell at 50,244; fee 0.226098                               1009.109107
 4    funding received 0.01 x 50,400 x 0.0001 = 0.0504                                       1009.159507
      the bar holds the stop (50,752) and the target (49,245): the stop comes first;
      buy at 50,758; -5.14, fee 0.228411                                                     1003.791096
 5,6  51,000 predicted at 50,000, twice: refused, two hours have not passed
 7    51,000 predicted at 50,000: buy at 50,005; fee 0.225022                                1003.566074
 8    opens at 49,000, below the stop at 49,500: funding 0.049                               1003.517074
      sell at 48,995; -10.10, fee 0.220478                                                    993.196596
 10   51,000 predicted for two hours later: buy at 50,005; fee 0.225022                       992.971574
 11   funding 0.05                                                                            992.921574
 12   funding 0.0501                                                                          992.871474
      the horizon has passed: sell at 50,094; +0.89, fee 0.225423                             993.536051
 13   49,245 predicted at 50,250: sell at 50,244; fee 0.226098                                993.309953
 14   funding received 0.05025                                                                993.360203
      52,000 predicted: turned; buy at 50,256; -0.12, fee 0.226152                            993.014051
      and up it is: 0.00995 at 50,256 (502.5 / 50,501); fee 0.225021                          992.789030
 15   funding 0.00995 x 50,500 x 0.0001 = 0.050248                                            992.738782
      the data ends: sell at 50,494; +2.3681, fee 0.226087                                    994.880795
"""

from decimal import Decimal

from allora_mqtt.research.run import Assumptions
from tests.unit.research.things import backtest, bars, hour, known, series

HISTORY = bars(
    (50000, 50200, 49900, 50100),
    (50100, 50300, 50000, 50200),
    (50200, 51100, 50100, 50900),
    (50250, 50500, 50000, 50400),
    (50400, 51000, 49000, 50000),
    (50000, 50100, 49900, 50000),
    (50000, 50100, 49900, 50000),
    (50000, 50400, 49600, 49700),
    (49000, 49100, 48900, 49000),
    (49000, 50000, 49000, 50000),
    (50000, 50100, 49900, 50000),
    (50000, 50200, 49900, 50100),
    (50100, 50300, 50000, 50250),
    (50250, 50300, 50200, 50250),
    (50250, 50600, 50000, 50500),
)
PREDICTIONS = (
    known(hour(0), 51000),
    known(hour(3), 49245),
    known(hour(5), 51000),
    known(hour(6), 51000),
    known(hour(7), 51000),
    known(hour(10), 51000, horizon_s=7200),
    known(hour(13), 49245),
    known(hour(14), 52000),
)
EQUITY = {
    0: "999.724978",  # the position stands at 50,000, bought at 50,005
    1: "1000.674878",
    2: "1001.624678",
    3: "1009.049107",
    4: "1007.599507",
    5: "1003.791096",
    6: "1003.791096",
    7: "1003.516074",
    8: "993.196596",
    9: "993.196596",
    10: "992.921574",
    11: "992.871574",
    12: "993.536051",
    13: "993.249953",
    14: "992.729330",
    15: "994.880795",
}
TRADES = [
    ("target", "9.335205"),  # 9.89 - 0.225022 - 0.229473 - 0.0501 - 0.0502, and so on
    ("stop", "-5.544109"),
    ("stop", "-10.594500"),
    ("horizon", "0.339455"),
    ("prediction_turned", "-0.522000"),
    ("end_of_data", "1.866744"),
]


def test_every_hour_to_the_last_digit() -> None:
    trial = backtest(
        [series(HISTORY)],
        PREDICTIONS,
        Assumptions(Decimal(1000), spread_bps=Decimal(2), slippage_bps=Decimal(0), funding_rate=Decimal("0.0001")),
        amount_usd="251.25",
        price_gap_pct=1,
        max_exposure_usd=1000,
        max_symbol_exposure_usd=1000,
        cooldown_s=7200,
    )
    run = trial.go()
    by_hour = {moment.at: moment.equity_usd for moment in run.equity}
    assert {number: by_hour[hour(number)] for number in EQUITY} == {
        number: Decimal(usd) for number, usd in EQUITY.items()
    }
    assert [(trade.reason, trade.pnl_usd) for trade in run.trades] == [(reason, Decimal(usd)) for reason, usd in TRADES]
    assert sum((trade.pnl_usd for trade in run.trades), Decimal(1000)) == by_hour[hour(15)]
    refused = [decision.at for decision in run.decisions if decision.reason and "cooling" in decision.reason]
    assert refused == [hour(5), hour(6)]

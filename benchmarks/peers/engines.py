"""The same rule in three engines: in by the gap, out by stop, target, horizon or a turned gap.

Reads a CSV of bars with the prediction that is known at each open; prints how long the engine ran, and its trades.
The first two decide at a bar's close for the next open, so what is known at the next open stands in the row before.
"""

import json
import sys
import time
from typing import Any

import numpy as np
import pandas as pd

FEE = 0.00045
CASH = 1_000_000.0
HORIZON_BARS = 8


def rows(path: str) -> pd.DataFrame:
    """Read the bars."""
    frame = pd.read_csv(path)
    frame.index = pd.to_datetime(frame["time"], unit="s")
    frame = frame.rename(columns={name: name.title() for name in ("open", "high", "low", "close")})
    frame["NextGap"] = ((frame["prediction"] - frame["Open"]) / frame["Open"] * 100).shift(-1)
    frame["NextOpen"] = frame["Open"].shift(-1)
    frame["Volume"] = 1.0
    return frame


def turned(gap: float, *, is_long: bool, rule: dict[str, float]) -> bool:
    """Whether the prediction lies on the wrong side by more than the buffer."""
    return (-gap if is_long else gap) > rule["exit_buffer_pct"]


def exits(reference: float, gap: float, rule: dict[str, float]) -> tuple[float, float]:
    """Return stop and target."""
    sign = 1 if gap > 0 else -1
    stop = max(abs(gap) * rule["sl_ratio"], rule["min_stop_pct"]) / 100
    target = max(abs(gap) * rule["tp_ratio"], rule["min_target_pct"]) / 100
    return reference * (1 - sign * stop), reference * (1 + sign * target)


def with_backtesting(frame: pd.DataFrame, rule: dict[str, float]) -> dict[str, Any]:
    """Run it in backtesting.py."""
    from backtesting import Strategy  # noqa: PLC0415 - one engine at a time
    from backtesting.lib import FractionalBacktest  # noqa: PLC0415

    class Gap(Strategy):
        def init(self) -> None:
            """Nothing is computed ahead."""

        def next(self) -> None:
            gap, reference = self.data.NextGap[-1], self.data.NextOpen[-1]
            leaving = False
            for trade in self.trades:
                if len(self.data) - trade.entry_bar >= HORIZON_BARS or turned(gap, is_long=trade.is_long, rule=rule):
                    trade.close()
                    leaving = True
            if (self.position and not leaving) or not abs(gap) >= rule["price_gap_pct"]:
                return
            # The engine counts in units, at the price of one.
            stop, target = exits(reference * UNIT, gap, rule)
            size = max(1, int(rule["amount_usd"] / reference / UNIT))
            (self.buy if gap > 0 else self.sell)(size=size, sl=stop, tp=target)

    test = FractionalBacktest(
        frame, Gap, cash=CASH, commission=FEE, exclusive_orders=False, hedging=False, fractional_unit=UNIT
    )
    started = time.perf_counter()
    result = test.run()
    took_s = time.perf_counter() - started
    trades = result["_trades"]
    found = [
        [int(row.EntryTime.timestamp()), int(row.ExitTime.timestamp()), 1 if row.Size > 0 else -1]
        for row in trades.itertuples()
    ]
    return {"seconds": took_s, "trades": found, "pnl_usd": float(trades["PnL"].sum())}


UNIT = 1e-5
"""BTC is traded in these."""


def with_backtrader(frame: pd.DataFrame, rule: dict[str, float]) -> dict[str, Any]:
    """Run it in backtrader."""
    import backtrader as bt  # noqa: PLC0415 - one engine at a time

    class Rows(bt.feeds.PandasData):
        lines = ("NextGap", "NextOpen")
        params = (("NextGap", "NextGap"), ("NextOpen", "NextOpen"))

    class Gap(bt.Strategy):
        def __init__(self) -> None:
            self.found: list[list[int]] = []
            self.pnl_usd, self.entered, self.resting = 0.0, 0, []

        def notify_trade(self, trade: Any) -> None:
            if trade.isclosed:
                side = 1 if trade.long else -1
                times = [bt.num2date(when).replace(tzinfo=None) for when in (trade.dtopen, trade.dtclose)]
                self.found.append([*(int(pd.Timestamp(at).timestamp()) for at in times), side])
                self.pnl_usd += trade.pnlcomm

        def next(self) -> None:
            gap, reference = self.data.NextGap[0], self.data.NextOpen[0]
            leaving = False
            if self.position:
                is_long = self.position.size > 0
                if len(self) - self.entered >= HORIZON_BARS or turned(gap, is_long=is_long, rule=rule):
                    for order in self.resting:
                        self.cancel(order)
                    self.close()
                    leaving = True
            if (self.position and not leaving) or not abs(gap) >= rule["price_gap_pct"]:
                return
            stop, target = exits(reference, gap, rule)
            size = max(1, int(rule["amount_usd"] / reference / UNIT)) * UNIT
            bracket = self.buy_bracket if gap > 0 else self.sell_bracket
            orders = bracket(size=size, exectype=bt.Order.Market, stopprice=stop, limitprice=target)
            self.resting, self.entered = orders[1:], len(self)

    engine = bt.Cerebro(stdstats=False)
    engine.adddata(Rows(dataname=frame, openinterest=-1))
    engine.addstrategy(Gap)
    engine.broker.setcash(CASH)
    engine.broker.setcommission(commission=FEE)
    started = time.perf_counter()
    (strategy,) = engine.run()
    took_s = time.perf_counter() - started
    return {"seconds": took_s, "trades": strategy.found, "pnl_usd": strategy.pnl_usd}


def with_vectorbt(frame: pd.DataFrame, rule: dict[str, float]) -> dict[str, Any]:
    """Run it in vectorbt, as a function that numba compiles; the second run is timed, without the compiling."""
    import vectorbt as vbt  # noqa: PLC0415 - one engine at a time
    from vectorbt_rule import decide  # noqa: PLC0415

    opens, gaps = frame["Open"].to_numpy(), frame["NextGap"].shift(1).to_numpy()
    numbers = ("amount_usd", "price_gap_pct", "tp_ratio", "sl_ratio", "min_target_pct", "min_stop_pct")
    rest = [rule[name] for name in (*numbers, "exit_buffer_pct")]

    def run() -> vbt.Portfolio:
        held = np.zeros(5)
        bars = (opens, frame["High"].to_numpy(), frame["Low"].to_numpy(), gaps)
        return vbt.Portfolio.from_order_func(
            frame["Close"], decide, *bars, held, *rest, flexible=True, init_cash=CASH, max_orders=3 * len(frame)
        )

    run()
    started = time.perf_counter()
    portfolio = run()
    took_s = time.perf_counter() - started
    trades = portfolio.trades.records_readable
    closed = trades[trades["Status"] == "Closed"]
    times = (closed[name].map(lambda at: int(at.timestamp())) for name in ("Entry Timestamp", "Exit Timestamp"))
    sides = closed["Direction"].map({"Long": 1, "Short": -1})
    found = [list(map(int, row)) for row in zip(*times, sides, strict=True)]
    return {"seconds": took_s, "trades": found, "pnl_usd": float(closed["PnL"].sum())}


ENGINES = {"backtesting.py": with_backtesting, "backtrader": with_backtrader, "vectorbt": with_vectorbt}

if __name__ == "__main__":
    print(json.dumps(ENGINES[sys.argv[1]](rows(sys.argv[2]), json.loads(sys.argv[3]))))  # noqa: T201 - its answer

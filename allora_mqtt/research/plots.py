"""The plots of a report, by plotly. Whatever was written by strangers is escaped before it comes here or on its way."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from html import escape
from math import sqrt
from typing import Any, Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from allora_mqtt.protocol.messages import Side
from allora_mqtt.research.result import DayResult, PriceBar, Result, SweepResult, TopicResult, TradeResult

MAX_TRADES_DRAWN: Final = 300
"""More markers than this hide one another, and make the page slow."""
BLUE, GREEN, RED, GREY, AMBER = "#3b7dd8", "#1f9d6b", "#d1495b", "#8a8f98", "#d99a2b"
_GRID: Final = "rgba(128,128,128,0.22)"


def equity(result: Result) -> go.Figure:
    """Return equity, with what holding the coins would have brought, and the drawdown below."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.68, 0.32], vertical_spacing=0.06)
    times = [point.at for point in result.equity]
    _add(figure, go.Scatter(x=times, y=_floats([p.equity_usd for p in result.equity]), name="Equity", line_color=BLUE))
    held = _held(result)
    if held:
        line = {"color": GREY, "width": 1, "dash": "dot"}
        _add(figure, go.Scatter(x=[at for at, _ in held], y=[usd for _, usd in held], name="Buy & hold", line=line))
    falls = _drawdown_pct(result)
    below = go.Scatter(x=times, y=falls, name="Drawdown", line_color=RED, fill="tozeroy", showlegend=False)
    figure.add_trace(below, row=2, col=1)
    figure.update_yaxes(title_text="USD", row=1, col=1)
    figure.update_yaxes(title_text="Drawdown, %", row=2, col=1)
    return _styled(figure, 520)


def trades_on_price(symbol: str, bars: Sequence[PriceBar], trades: Sequence[TradeResult]) -> go.Figure:
    """Return a coin's price with the entries, exits and stops of the newest trades on it."""
    figure = go.Figure()
    band = {"x": [bar.at for bar in bars], "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    if any(bar.high != bar.low for bar in bars):
        figure.add_trace(go.Scatter(y=_floats([bar.high for bar in bars]), showlegend=False, **band))
        low = _floats([bar.low for bar in bars])
        fill = {"fill": "tonexty", "fillcolor": "rgba(128,128,128,0.18)"}
        figure.add_trace(go.Scatter(y=low, name="Low to high", **fill, **band))
    closes = _floats([bar.close for bar in bars])
    line = {"color": GREY, "width": 1.2}
    figure.add_trace(go.Scatter(x=[bar.at for bar in bars], y=closes, name=escape(symbol), line=line))
    shown = trades[-MAX_TRADES_DRAWN:]
    stops = _segments(shown)
    if shown:
        line = {"color": RED, "width": 1, "dash": "dot"}
        figure.add_trace(go.Scatter(x=stops[0], y=stops[1], name="Stops", mode="lines", line=line, hoverinfo="skip"))
    for side, marker, colour in ((Side.LONG, "triangle-up", GREEN), (Side.SHORT, "triangle-down", RED)):
        own = [trade for trade in shown if trade.side is side]
        figure.add_trace(
            go.Scatter(
                x=[trade.opened_at for trade in own],
                y=_floats([trade.entry_price for trade in own]),
                mode="markers",
                name=f"{side.capitalize()} entry",
                marker={"symbol": marker, "size": 9, "color": colour, "line": {"width": 1, "color": "white"}},
                text=[f"gap {trade.gap_pct:+.2f} %" if trade.gap_pct is not None else "" for trade in own],
            )
        )
    ended = [trade for trade in shown if trade.exit_price is not None]
    figure.add_trace(
        go.Scatter(
            x=[trade.closed_at for trade in ended],
            y=[float(trade.exit_price) for trade in ended if trade.exit_price is not None],
            mode="markers",
            name="Exit",
            marker={"symbol": "x-thin", "size": 6, "line": {"width": 1.4, "color": AMBER}},
            text=[f"{escape(trade.reason)}, {trade.pnl_usd:+.2f} USD" for trade in ended],
        )
    )
    figure.update_yaxes(title_text=f"{escape(symbol)}, USD")
    if len(shown) < len(trades):
        figure.update_xaxes(range=[shown[0].opened_at, bars[-1].at])
        prices = [float(price) for bar in bars if bar.at >= shown[0].opened_at for price in (bar.low, bar.high)]
        figure.update_yaxes(range=[min(prices), max(prices)])
    return _styled(figure, 480)


def hit_rates(topics: Sequence[TopicResult]) -> go.Figure:
    """Return the share of right directions by topic, with its 95 % interval (Wilson) and the line of a coin's toss."""
    judged = [topic for topic in topics if topic.resolved]
    intervals = [wilson_pct(topic.hits, topic.resolved) for topic in judged]
    shares = [topic.hits / topic.resolved * 100 for topic in judged]
    bars = go.Bar(
        y=[f"{escape(topic.symbol)}, topic {topic.topic_id}" for topic in judged],
        x=shares,
        orientation="h",
        width=0.5,
        marker_color=BLUE,
        text=[f"{share:.1f} % of {topic.resolved:,}" for share, topic in zip(shares, judged, strict=True)],
        textposition="inside",
        insidetextanchor="start",
        textfont_color="white",
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - share for share, (_, high) in zip(shares, intervals, strict=True)],
            "arrayminus": [share - low for share, (low, _) in zip(shares, intervals, strict=True)],
            "color": GREY,
        },
        showlegend=False,
    )
    figure = go.Figure(bars)
    figure.add_vline(x=50, line_dash="dot", line_color=AMBER, annotation_text="a coin's toss")
    figure.update_xaxes(title_text="Right direction, %", range=[0, 100])
    figure.update_yaxes(type="category")
    return _styled(figure, 130 + 44 * len(judged))


def wilson_pct(hits: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, in percent (Wilson 1927)."""
    z = 1.96
    share, weight = hits / of, z * z / of
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * sqrt(share * (1 - share) / of + weight / (4 * of))
    return (middle - half) * 100, (middle + half) * 100


def by_day_and_month(days: Sequence[DayResult]) -> go.Figure:
    """Return profit and loss by day, and by month below."""
    months: dict[str, Decimal] = defaultdict(Decimal)
    for day in days:
        months[day.day[:7]] += day.pnl_usd
    figure = make_subplots(rows=2, cols=1, vertical_spacing=0.16, subplot_titles=("By day", "By month"))
    figure.add_trace(_gains([day.day for day in days], [day.pnl_usd for day in days]), row=1, col=1)
    figure.add_trace(_gains(list(months), list(months.values())), row=2, col=1)
    figure.update_xaxes(type="category", row=2, col=1)
    figure.update_yaxes(title_text="USD")
    return _styled(figure, 520)


def distribution(trades: Sequence[TradeResult]) -> go.Figure:
    """Return how trade results are distributed."""
    figure = go.Figure(go.Histogram(x=_floats([trade.pnl_usd for trade in trades]), nbinsx=60, marker_color=BLUE))
    figure.add_vline(x=0, line_dash="dot", line_color=GREY)
    figure.update_xaxes(title_text="Result of a trade after fees and funding, USD")
    figure.update_yaxes(title_text="Trades")
    figure.update_layout(showlegend=False, bargap=0.04)
    return _styled(figure, 340)


def heat(sweep: SweepResult) -> go.Figure:
    """Return the return by price gap and target ratio, a row for each stop ratio: to choose by, and to judge by."""
    stops = sorted({cell.sl_ratio for cell in sweep.cells})
    gaps = sorted({cell.price_gap_pct for cell in sweep.cells})
    targets = sorted({cell.tp_ratio for cell in sweep.cells})
    titles = [f"stop {stop.normalize():f} x gap, {part}" for stop in stops for part in ("first part", "rest")]
    figure = make_subplots(
        rows=len(stops), cols=2, subplot_titles=titles, horizontal_spacing=0.1, vertical_spacing=0.22 / len(stops)
    )
    by_key = {(cell.sl_ratio, cell.tp_ratio, cell.price_gap_pct): cell for cell in sweep.cells}
    reach = max(abs(float(part.return_pct)) for cell in sweep.cells for part in (cell.train, cell.test)) or 1
    for row, stop in enumerate(stops, 1):
        for column in (1, 2):
            values = [[by_key[stop, target, gap] for gap in gaps] for target in targets]
            shares = [[float((c.train if column == 1 else c.test).return_pct) for c in line] for line in values]
            trace = go.Heatmap(
                x=[f"{gap.normalize():f} %" for gap in gaps],
                y=[f"{target.normalize():f}" for target in targets],
                z=shares,
                zmin=-reach,
                zmax=reach,
                colorscale=[[0, RED], [0.5, "#f4f1e8"], [1, GREEN]],
                text=[[f"{share:+.1f}" for share in line] for line in shares],
                texttemplate="%{text}",
                textfont_color="#222",
                showscale=row == 1 and column == 2,  # noqa: PLR2004 - the second column
                colorbar_title="Return, %",
            )
            figure.add_trace(trace, row=row, col=column)
    figure.update_xaxes(type="category")
    figure.update_xaxes(title_text="price gap", row=len(stops))
    figure.update_yaxes(type="category", title_text="target x gap")
    return _styled(figure, 120 + 260 * len(stops))


def _add(figure: go.Figure, trace: Any) -> None:  # noqa: ANN401 - plotly is not typed
    figure.add_trace(trace, row=1, col=1)


def _styled(figure: go.Figure, height: int) -> go.Figure:
    figure.update_layout(
        height=height,
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": BLUE},
        margin={"l": 64, "r": 24, "t": 36, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="closest",
        template="none",
    )
    figure.update_xaxes(gridcolor=_GRID, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=_GRID, zerolinecolor=_GRID, automargin=True)
    return figure


def _gains(names: Sequence[str], amounts: Sequence[Decimal]) -> Any:  # noqa: ANN401 - plotly is not typed
    colours = [GREEN if usd >= 0 else RED for usd in amounts]
    return go.Bar(x=names, y=_floats(amounts), marker_color=colours, marker_line_width=0, showlegend=False)


def _segments(trades: Sequence[TradeResult]) -> tuple[list[datetime | None], list[float | None]]:
    """Return each trade's stop as a line over its time; None parts them."""
    times: list[datetime | None] = []
    prices: list[float | None] = []
    for trade in trades:
        times += [trade.opened_at, trade.closed_at, None]
        prices += [float(trade.stop_price), float(trade.stop_price), None]
    return times, prices


def _held(result: Result) -> list[tuple[datetime, float]]:
    """Return the account, had it bought every coin at the start: on the times of the first coin's prices."""
    start_usd = float(result.figures.start_usd)
    worth: Mapping[str, Mapping[datetime, float]] = {
        symbol: {bar.at: float(bar.close / bars[0].open) for bar in bars}
        for symbol, bars in result.price_bars.items()
        if bars
    }
    if not worth or result.figures.hold_return_pct is None:
        return []
    common = set.intersection(*(set(curve) for curve in worth.values()))
    return [(at, start_usd * sum(curve[at] for curve in worth.values()) / len(worth)) for at in sorted(common)]


def _drawdown_pct(result: Result) -> list[float]:
    peak, falls = result.figures.start_usd, []
    for point in result.equity:
        falls.append(-float((peak - min(point.low_usd, peak)) / peak * 100) if peak > 0 else 0.0)
        peak = max(peak, point.equity_usd)
    return falls


def _floats(amounts: Sequence[Decimal]) -> list[float]:
    return [float(amount) for amount in amounts]

"""One HTML file that holds everything: it opens without a network, in light and dark."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from html import escape
from string import Template
from typing import Any, Final

from pydantic import JsonValue

from allora_mqtt.market.topic_names import horizon_text
from allora_mqtt.research.figures import FORMULAS
from allora_mqtt.research.problems import Problem, ResearchError
from allora_mqtt.research.result import (
    AssumptionsView,
    Figures,
    PredictionSource,
    Result,
    Source,
    SweepCell,
    SweepResult,
    TopicResult,
    TradeResult,
    Warned,
)
from allora_mqtt.research.sweep import rank_agreement

_MAX_TRADES_LISTED: Final = 200
_BUTTONS: Final = [["zoom2d", "pan2d", "resetScale2d", "toImage"]]
"""What can be done with a plot; nothing that would send it anywhere."""
_LOUD: Final = {"SYNTHETIC_PREDICTIONS", "OVERFITTING"}
"""Warnings without which the numbers would be misread; they head the page."""

_PAGE: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:">
<title>$title</title>
<style>$style</style>
<script>$library</script>
</head>
<body>
<main>
$body
</main>
<script>$script</script>
</body>
</html>
""")

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5c6675; --page: #f6f7f9; --card: #ffffff; --line: #dfe3e8;
  --warn: #fff4dc; --warn-line: #d99a2b; --good: #147a51; --bad: #b8323f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #9aa4b2; --page: #14181f; --card: #1c222b;
  --line: #303844; --warn: #3a2f16; --warn-line: #d99a2b; --good: #4cc38a; --bad: #f0717c; } }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 1.6rem; margin: 0 0 2px; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 0 0 10px; }
p { margin: 6px 0; }
.soft { color: var(--soft); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px;
  margin-top: 18px; }
.loud { background: var(--warn); border: 2px solid var(--warn-line); font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; }
.tile b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.tile > span { color: var(--soft); font-size: .85rem; }
.good { color: var(--good); } .bad { color: var(--bad); }
.scroll { overflow-x: auto; max-height: 560px; overflow-y: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; position: sticky; top: 0; background: var(--card); }
td.number, th.number { text-align: right; white-space: nowrap; }
code { overflow-wrap: anywhere; font-size: .85em; }
"""

_SCRIPT: Final = """
const paint = () => document.querySelectorAll('.js-plotly-plot').forEach(
  plot => Plotly.relayout(plot, {'font.color': getComputedStyle(document.body).color}));
paint();
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', paint);
"""


def render(result: Result | SweepResult) -> str:
    """Return a result as an HTML page.

    Raises:
        ResearchError: `NO_LIBRARY`, when plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs  # noqa: PLC0415 - an extra: backtests run without it
    except ImportError as error:
        message = "Reports are drawn with plotly, which is not installed: pip install 'allora-mqtt[research]'."
        raise ResearchError(Problem.NO_LIBRARY, message) from error
    body = _sweep_body(result) if isinstance(result, SweepResult) else _result_body(result)
    return _PAGE.substitute(title=escape(result.title), style=_STYLE, library=get_plotlyjs(), body=body, script=_SCRIPT)


def _result_body(result: Result) -> str:
    from allora_mqtt.research import plots  # noqa: PLC0415 - as above

    coins = [
        _plot(f"Trades on {symbol}", plots.trades_on_price(symbol, bars, _of(result.trades, symbol)), number)
        for number, (symbol, bars) in enumerate(result.price_bars.items())
        if bars
    ]
    judged = any(topic.resolved for topic in result.topics)
    drawn = plots.MAX_TRADES_DRAWN
    hint = f"Drawn are the newest {drawn} trades of a coin." if len(result.trades) > drawn else ""
    parts = [
        _head(result),
        _warnings(result.warnings, loud=True),
        _tiles(result.figures),
        _warnings(result.warnings, loud=False),
        _plot("Equity and drawdown", plots.equity(result), "equity"),
        *coins,
        f'<p class="soft">{hint}</p>' if hint else "",
        _plot("Hit rate by topic", plots.hit_rates(result.topics), "hits") if judged else "",
        _topic_table(result.topics) if result.topics else "",
        _plot("Profit and loss", plots.by_day_and_month(result.days), "days") if result.days else "",
        _plot("Results of trades", plots.distribution(result.trades), "distribution") if result.trades else "",
        _reasons(result),
        _trade_table(result.trades),
        _provenance(result.prices, result.predictions, result.assumptions, result.settings, result.version),
        _formulas(),
    ]
    return "\n".join(part for part in parts if part)


def _sweep_body(sweep: SweepResult) -> str:
    from allora_mqtt.research import plots  # noqa: PLC0415 - as above

    cells = sorted(sweep.cells, key=lambda cell: -cell.train.return_pct)
    agreement = rank_agreement(sweep.cells)
    said = "too few to tell" if agreement is None else f"{agreement:+.2f}"
    columns = ("gap", "target", "stop", "return", "drawdown", "trades", "return in the rest", "drawdown", "trades")
    parts = [
        _head(sweep),
        _warnings(sweep.warnings, loud=True),
        _section(
            "How to read it",
            f"<p>Choose by the first part, until {_time(sweep.split)}; judge by the rest, which had no say. "
            f"The order in the first part and that in the rest agree by <b>{said}</b> (Spearman's rank correlation: "
            "+1 is the same order, 0 is chance). Where it is low, the best row is luck.</p>",
        ),
        _plot("Return", plots.heat(sweep), "heat"),
        _section("By return in the first part", _table(columns, [_sweep_row(cell) for cell in cells], left=0)),
        _warnings(sweep.warnings, loud=False),
        _provenance(sweep.prices, sweep.predictions, sweep.assumptions, sweep.settings, sweep.version),
        _formulas(),
    ]
    return "\n".join(part for part in parts if part)


def _sweep_row(cell: SweepCell) -> list[str]:
    return [
        f"{_plain(cell.price_gap_pct)} %",
        _plain(cell.tp_ratio),
        _plain(cell.sl_ratio),
        *(
            text
            for part in (cell.train, cell.test)
            for text in (
                _signed(part.return_pct, f"{part.return_pct:+.2f} %"),
                f"{part.max_drawdown_pct:.2f} %",
                str(part.trades),
            )
        ),
    ]


def _head(result: Result | SweepResult) -> str:
    what = "Backtest" if isinstance(result, SweepResult) or result.kind == "backtest" else "A bot's own books"
    days = (result.end - result.start) / timedelta(days=1)
    return (
        f"<h1>{escape(result.title)}</h1>"
        f'<p class="soft">{what}, {_time(result.start)} to {_time(result.end)} UTC ({days:.1f} days)</p>'
    )


def _warnings(warnings: Sequence[Warned], *, loud: bool) -> str:
    chosen = [warning for warning in warnings if (warning.code in _LOUD) is loud]
    if not chosen:
        return ""
    lines = "".join(f"<p>{escape(warning.message)} <code>{escape(warning.code)}</code></p>" for warning in chosen)
    return f'<section class="loud">{lines}</section>' if loud else _section("To be read with care", lines)


def _tiles(figures: Figures) -> str:
    holding = figures.average_holding_h
    tiles = [
        ("Return", _signed(figures.return_pct, f"{figures.return_pct:+.2f} %")),
        ("Buy & hold", _percent(figures.hold_return_pct)),
        ("CAGR", _percent(figures.cagr_pct)),
        ("Max drawdown", f"{figures.max_drawdown_pct:.2f} %"),
        ("Sharpe", _ratio(figures.sharpe)),
        ("Sortino", _ratio(figures.sortino)),
        ("Trades", f"{figures.trades:,}"),
        ("Win rate", "-" if figures.win_rate_pct is None else f"{figures.win_rate_pct:.1f} %"),
        ("Profit factor", _ratio(figures.profit_factor)),
        ("Expectancy", _usd(figures.expectancy_usd, signed=True)),
        ("Exposure", f"{figures.exposure_pct:.1f} %"),
        ("Average holding", "-" if holding is None else f"{holding:.1f} h"),
        ("Fees", _usd(figures.fees_usd)),
        ("Funding paid", _usd(figures.funding_usd)),
        ("Worst day", f"{_usd(figures.worst_day_usd, signed=True)}"),
        ("At the end", f"{_usd(figures.end_usd)}"),
    ]
    notes = {"Worst day": figures.worst_day_on or "", "At the end": f"of {figures.start_usd:,.2f} USD"}
    cells = "".join(
        f'<div class="tile"><span>{name}</span><b>{value}</b><span>{escape(notes.get(name, ""))}</span></div>'
        for name, value in tiles
    )
    return _section("Figures", f'<div class="tiles">{cells}</div>')


def _topic_table(topics: Sequence[TopicResult]) -> str:
    rows = [
        [
            escape(topic.symbol),
            str(topic.topic_id),
            str(topic.predictions),
            f"{topic.hits / topic.resolved * 100:.1f} % of {topic.resolved}" if topic.resolved else "-",
            str(topic.trades),
            f"{topic.wins / topic.trades * 100:.1f} %" if topic.trades else "-",
            _usd(topic.pnl_usd, signed=True),
        ]
        for topic in topics
    ]
    columns = ("coin", "topic", "predictions", "right direction", "trades", "won", "result")
    return _section("Topics", _table(columns, rows, left=1))


def _reasons(result: Result) -> str:
    ends: dict[str, list[Decimal]] = {}
    for trade in result.trades:
        ends.setdefault(trade.reason, []).append(trade.pnl_usd)
    by_count = sorted(ends.items(), key=lambda item: -len(item[1]))
    rows = [[escape(why), str(len(usd)), _usd(sum(usd, Decimal(0)), signed=True)] for why, usd in by_count]
    content = _table(("why positions ended", "trades", "result"), rows, left=1) if rows else "<p>No trades.</p>"
    if result.refusals:
        refused = [[escape(why), str(count)] for why, count in result.refusals.items()]
        content += _table(("why wanted entries were not made", "times"), refused, left=1)
    return _section("Why", content)


def _trade_table(trades: Sequence[TradeResult]) -> str:
    if not trades:
        return ""
    newest = list(reversed(trades[-_MAX_TRADES_LISTED:]))
    rows = [
        [
            _time(trade.opened_at),
            _time(trade.closed_at),
            escape(trade.symbol),
            trade.side.value,
            _plain(trade.size),
            _plain(trade.entry_price),
            "-" if trade.exit_price is None else _plain(trade.exit_price),
            escape(trade.reason),
            _usd(trade.fees_usd),
            _usd(trade.pnl_usd, signed=True),
        ]
        for trade in newest
    ]
    columns = ("opened", "closed", "coin", "side", "size", "entry", "exit", "ended by", "fees", "result")
    title = "Trades" if len(newest) == len(trades) else f"The newest {len(newest)} of {len(trades):,} trades"
    return _section(title, f'<div class="scroll">{_table(columns, rows, left=4)}</div>')


def _provenance(
    prices: Sequence[Source],
    predictions: PredictionSource,
    assumptions: AssumptionsView | None,
    settings: dict[str, JsonValue],
    version: str,
) -> str:
    rows = [
        [
            "Prices",
            (
                f"{escape(', '.join(source.symbols))}: {source.rows:,} rows of {escape(_names(source.files))}, "
                f"{_time(source.start)} to {_time(source.end)} UTC; SHA-256 <code>{escape(source.sha256)}</code>"
            ),
        ]
        for source in prices
    ]
    rows.append(["Predictions", _said_of(predictions)])
    if assumptions is not None:
        resume = "never" if assumptions.resume_after_h is None else f"after {assumptions.resume_after_h:g} h"
        rows += [
            ["Account", f"{assumptions.cash_usd:,.2f} USD at the start"],
            ["Fees", f"{_plain(assumptions.fee_pct)} % of each fill (taker)"],
            [
                "Fills",
                f"spread {_plain(assumptions.spread_bps)} bps, slippage {_plain(assumptions.slippage_bps)} bps on top",
            ],
            ["Funding", f"{_plain(assumptions.funding_rate * 100)} % an hour where the prices come without rates"],
            ["A limit on losses", f"is reset {resume}"],
        ]
    rows += [[f"<code>{escape(key)}</code>", escape(str(value))] for key, value in settings.items()]
    rows.append(["Program", f"allora-mqtt {escape(version)}"])
    return _section("Settings and where the data comes from", _table(("", ""), rows, left=2))


def _said_of(source: PredictionSource) -> str:
    delay = "" if source.delay_s is None else f", known {source.delay_s:g} s after they were made"
    used = f"{source.count:,}{delay}; {source.used:,} were fresh at a price"
    if source.kind == "synthetic":
        horizon = horizon_text(source.horizon_s or 0)
        every = horizon_text(source.every_s or 0)
        return f"<b>synthetic</b>, skill {source.skill:g}, seed {source.seed}, {horizon} ahead, every {every}: {used}"
    if source.kind == "live":
        return f"{source.count:,} of the network's, as the bot saw them; {source.used:,} became trades"
    return f"{used}; from {escape(_names(source.files))}, SHA-256 <code>{escape(source.sha256 or '')}</code>"


def _names(files: Sequence[str]) -> str:
    return files[0] if len(files) == 1 else f"{files[0]} to {files[-1]} ({len(files)} files)"


def _formulas() -> str:
    return _section(
        "How the figures are computed", _table(("", ""), [[name, how] for name, how in FORMULAS.items()], 2)
    )


def _plot(title: str, figure: Any, name: object) -> str:  # noqa: ANN401 - plotly is not typed
    html = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=f"plot-{name}",
        config={"displaylogo": False, "responsive": True, "modeBarButtons": _BUTTONS},
    )
    return _section(title, html)


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> str:
    """Return a table of cells that are HTML already; the columns from `left` on are numbers."""

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{'' if place < left else ' class=number'}>{text}</{tag}>" for place, text in enumerate(texts)
        )

    head = f"<tr>{cells('th', columns)}</tr>" if any(columns) else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table>{head}{body}</table>"


def _of(trades: Sequence[TradeResult], symbol: str) -> list[TradeResult]:
    return [trade for trade in trades if trade.symbol == symbol]


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def _plain(number: Decimal) -> str:
    """Write a number without trailing zeros, the same before and after it has been a JSON number."""
    return f"{number.normalize():f}"


def _usd(amount: Decimal | None, *, signed: bool = False) -> str:
    if amount is None:
        return "-"
    return _signed(amount, f"{amount:+,.2f} USD") if signed else f"{amount:,.2f} USD"


def _signed(value: Decimal | float, text: str) -> str:
    return f'<span class="{"good" if value >= 0 else "bad"}">{text}</span>'


def _percent(value: float | None) -> str:
    return "-" if value is None else _signed(value, f"{value:+.2f} %")


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"

// What each part of the page shows: status, active coins, catalog, positions, history, results. Each is sent when it has changed.
const bot = flow.get("bot");
if (!bot) return null;
const shown = context.get("shown") || [];
context.set("shown", shown);
const status = bot.status || {};
const active = bot.cryptos || status.active_cryptos || {};
const pending = Object.fromEntries(
    Object.values(bot.waiting)
        .filter((command) => command.key)
        .map((command) => [command.key, command.payload.value ?? true]),
);

return [light(), activeCoins(), catalog(), positions(), { commands: bot.commands }, results()].map(changed);

function changed(view, place) {
    const text = JSON.stringify(view);
    // The first goes out each second: a page that hears nothing knows that it has lost Node-RED.
    if (place > 0 && text === shown[place]) return null;
    shown[place] = text;
    return { payload: view };
}

function light() {
    const interval_s = Number(((bot.info || {}).settings || {}).BOT_HEARTBEAT_INTERVAL_S) || 5;
    const silent_s = (Date.now() - (bot.beat_at || bot.since)) / 1000;
    const missed = silent_s > 3 * interval_s;
    let color = bot.beat_at ? "green" : "grey";
    let says = bot.beat_at ? "alive" : "waiting for a heartbeat";
    if (missed) [color, says] = ["red", `no heartbeat for ${Math.floor(silent_s)} s`];
    if (bot.availability === "offline") [color, says] = ["red", "the bot is offline"];
    if (bot.broker === false) [color, says] = ["red", "Node-RED has no connection to the broker"];
    return {
        color,
        says,
        mode: bot.mode,
        pending,
        since: status.since,
        network: status.network,
        version: status.version,
        health: status.health,
        warnings: status.warnings || [],
        breakers: status.breakers || [],
        equity_usd: status.equity_usd,
        daily_pnl_usd: status.daily_pnl_usd,
        daily_pnl_pct: (bot.account || {}).daily_pnl_pct,
        exposure_usd: status.exposure_usd,
        open_positions: status.open_positions,
        active: Object.keys(active).length,
    };
}

function activeCoins() {
    const coins = Object.keys(active)
        .sort()
        .map((symbol) => {
            const { price, volume_24h, prediction, gap_pct, signal, skill_pct, position } = bot.coins[symbol] || {};
            const side = position ? position.side : null;
            return { symbol, topic_id: active[symbol], price, volume_24h, prediction, gap_pct, signal, skill_pct, side, pending: pending[symbol] };
        });
    const sets = Object.entries((bot.info || {}).crypto_sets || {}).map(([name, symbols]) => ({ name, symbols }));
    return { coins, total: bot.market.length, mode: bot.mode, sets, waiting: pending.cryptos !== undefined };
}

function catalog() {
    const coins = bot.market
        .filter((coin) => !(coin.symbol in active))
        .map(({ symbol, availability, topics, price, volume_24h }) => ({
            symbol, availability, topics, price, volume_24h, pending: pending[symbol],
        }));
    return { coins };
}

function positions() {
    const open = (bot.positions || []).map((each) => ({ ...each, pending: pending[`close ${each.symbol}`] }));
    return { positions: open, flattening: pending.flatten };
}

function results() {
    const { since, pnl_usd, trades, win_rate_pct, profit_factor, max_drawdown_pct, days, equity } = bot.performance || {};
    const points = equity || [];
    // As many points as a line on a screen can show.
    const step = Math.ceil(points.length / 300) || 1;
    const line = points.filter((_, place) => place % step === 0 || place === points.length - 1);
    return { since, pnl_usd, trades, win_rate_pct, profit_factor, max_drawdown_pct, days: days || [], equity: line, rows: bot.trades || [] };
}

// One line of what the bot is doing.
const { mode, health, network, equity_usd, daily_pnl_usd, open_positions, active_cryptos } = JSON.parse(msg.payload);
const coins = Object.keys(active_cryptos).join(", ") || "none";
msg.payload = `${mode} on ${network}, health ${health}, equity ${equity_usd} USD, today ${daily_pnl_usd} USD, ` +
    `${open_positions} open positions, active: ${coins}`;
node.status({ fill: mode === "ACTIVE" ? "green" : "grey", shape: "dot", text: mode });
return msg;

"""A server that plays HyperLiquid and Allora over HTTP. Knows nothing of the bot.

One loopback port has three doors:

- HyperLiquid: `POST /info` and `POST /exchange`, with signatures, nonces, the exchange's rules and its rate limits;
- Allora: `GET /v2/allora/{chain}/topics` and `GET /v2/allora/consumer/{slug}?allora_topic_id=N`;
- the simulator's own: `/sim/faults`, `/sim/price`, `/sim/time`, `/sim/accounts`, `/sim/agents`, `/sim/vaults`,
  `/sim/log`, `/sim/state`; how to use it is in docs/simulator.md.

`exchange`, `matching`, `margin`, `ledger`, `rules`, `prices`, `market` and `predictions` are pure: time comes in as an
argument. `world` joins them with the clock and the state on disk; `server` serves them.
"""

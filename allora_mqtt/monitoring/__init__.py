"""Metrics for Prometheus, `/healthz` and `/readyz`; nothing here is imported unless `BOT_METRICS_BIND` is set."""

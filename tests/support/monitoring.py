"""What a bot says of itself over HTTP."""

import json
import urllib.error
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """Return status and text, whatever the status is."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own URL
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def verdict(port: int, path: str) -> tuple[int, dict[str, Any]]:
    """Return the status of `/healthz` or `/readyz` and what is not well; 0 while nobody listens."""
    try:
        status, text = get(port, path)
    except OSError:
        return 0, {}
    checks = json.loads(text)["checks"]
    return status, {name: check["reason"] for name, check in checks.items() if not check["ok"]}


def value(port: int, metric: str, /, **labels: str) -> float | None:
    """Return the first sample of a metric that has these labels."""
    for family in text_string_to_metric_families(get(port, "/metrics")[1]):
        for sample in family.samples:
            if sample.name == f"allora_mqtt_{metric}" and labels.items() <= sample.labels.items():
                return float(sample.value)
    return None

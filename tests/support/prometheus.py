"""The real Prometheus, as a process on a free port, and what the files of examples/ ask of it."""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.net import free_port, until

PROMETHEUS = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")
_SHIPPED_INTERVAL = "15s"
_SHIPPED_TARGET = "127.0.0.1:9464"


class Prometheus:
    """Runs a shipped configuration with another target and shorter intervals.

    Args:
        folder: where it keeps its data.
        shipped: the folder of the configuration and its rules.
        target: HOST:PORT of what is scraped.
    """

    def __init__(self, folder: Path, shipped: Path, target: str) -> None:
        shutil.copytree(shipped, folder)
        config = folder / "prometheus.yml"
        text = config.read_text()
        assert _SHIPPED_INTERVAL in text
        assert _SHIPPED_TARGET in text
        config.write_text(text.replace(_SHIPPED_INTERVAL, "1s").replace(_SHIPPED_TARGET, target))
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert PROMETHEUS is not None
        words = [
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=warn",
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([PROMETHEUS, *words], stdout=log, stderr=log)
        until(self._is_ready, "Prometheus", 60)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now; an error of it is an error of the test."""
        found: list[dict[str, Any]] = self._get(f"query?query={urllib.parse.quote(expression)}")["result"]
        return found

    def alerts(self) -> dict[str, str]:
        """Return the state of each alert that is pending or firing."""
        return {each["labels"]["alertname"]: each["state"] for each in self._get("alerts")["alerts"]}

    def names(self) -> set[str]:
        """Return the name of every metric that it has seen."""
        return set(self._get("label/__name__/values"))

    def _get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/{path}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.read().decode()}") from error

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def rules(file: Path) -> dict[str, str]:
    """Return the expression of each alert."""
    groups = yaml.safe_load(file.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def expressions(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Return what each panel and each annotation asks, beside its title."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def metrics_in(expression: str) -> set[str]:
    """Return the names of metrics that an expression reads."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\b(by|on|without|ignoring)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    return set(re.findall(r"\b(?:allora_mqtt|process|python)_\w+|\bup\b", bare))

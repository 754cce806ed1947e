"""The flows of `examples/node-red`: as their sources say, sound, and within the contract."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from allora_mqtt.protocol.commands import ACTIONS
from tests.conftest import ROOT

KIT = ROOT / "examples" / "node-red"
FLOWS = pytest.mark.parametrize("flow", ["core", "dashboard"])
CORE_NODES = {"tab", "mqtt-broker", "mqtt in", "mqtt out", "inject", "function", "debug", "comment"}
DASHBOARD_NODES = {"ui-base", "ui-theme", "ui-page", "ui-group", "ui-template", "ui-notification", "status"}


def nodes(flow: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((KIT / f"flows-{flow}.json").read_text())
    return found


@FLOWS
def test_they_are_what_their_sources_say(flow: str) -> None:
    spec = importlib.util.spec_from_file_location("build", KIT / "build.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    assert (KIT / f"flows-{flow}.json").read_text() == build.build(flow), "run examples/node-red/build.py"


@FLOWS
def test_every_node_has_an_id_of_its_own_and_names_only_nodes_that_are_there(flow: str) -> None:
    found = nodes(flow)
    ids = {node["id"] for node in found}
    assert len(ids) == len(found)
    assert all(re.fullmatch(r"[0-9a-f]{16}", each) for each in ids)
    for node in found:
        named = [each for wire in node.get("wires", []) for each in wire] + node.get("scope", [])
        named += [node[key] for key in ("z", "broker", "group", "page", "ui", "theme") if node.get(key)]
        if node["type"] == "mqtt-broker":
            named.remove(node["broker"])
        assert set(named) <= ids, node["name"]


def test_the_two_can_be_imported_together_and_the_small_one_needs_nothing_installed() -> None:
    core, dashboard = nodes("core"), nodes("dashboard")
    assert {node["id"] for node in core}.isdisjoint(node["id"] for node in dashboard)
    assert {node["type"] for node in core} <= CORE_NODES
    assert {node["type"] for node in dashboard} <= CORE_NODES | DASHBOARD_NODES


@FLOWS
def test_the_broker_and_its_password_come_from_the_environment(flow: str) -> None:
    broker = next(node for node in nodes(flow) if node["type"] == "mqtt-broker")
    assert (broker["broker"], broker["port"]) == ("${HOST}", "${PORT}")
    assert broker["credentials"] == {"user": "${USERNAME}", "password": "${PASSWORD}"}
    asked = " ".join(each["value"] for each in nodes(flow)[0]["env"])
    assert set(re.findall(r"\$env\('(\w+)'\)", asked)) == {
        "MQTT_HOST",
        "MQTT_PORT",
        "MQTT_USERNAME",
        "MQTT_PASSWORD",
        "MQTT_BASE_TOPIC",
    }


@FLOWS
def test_commands_are_sent_qos_1_and_not_retained_and_are_of_the_contract(flow: str) -> None:
    found = nodes(flow)
    outs = [node for node in found if node["type"] == "mqtt out"]
    assert [(node["qos"], node["retain"]) for node in outs] == [("1", "false")]
    text = json.dumps(found)
    asked = set(re.findall(r"request/(\w+)", text)) | set(re.findall(r"\bask\(\\\"(\w+)", text))
    assert asked <= set(ACTIONS)
    assert flow == "core" or asked >= {"activate_set", "catalog", "close", "flatten", "history", "trades"}


def test_the_code_of_the_function_nodes() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    tests = Path(__file__).with_name("node_red.test.mjs")
    done = subprocess.run([node, "--test", tests], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout

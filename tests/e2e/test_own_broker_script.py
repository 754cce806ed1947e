"""A newcomer's way, from a clone to the real Home Assistant on a broker with TLS, passwords and access rules."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import clone_to, of_the_machine
from tests.support.client import Watcher
from tests.support.home_assistant import ROOT, VERSION, HomeAssistant
from tests.support.net import free_port, until

pytestmark = [pytest.mark.real_peers, pytest.mark.timeout(900)]


def test_a_newcomer_ends_with_a_screen_in_home_assistant(tmp_path: Path) -> None:
    if not (ROOT / "srv" / f"installed-{VERSION}").exists():
        pytest.skip("Home Assistant is not installed: tests/e2e/install_home_assistant")
    clone, folder, port = tmp_path / "clone", tmp_path / "own", free_port()
    clone_to(clone)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        "PYTHON": sys.executable,
        "SIM_BIND": f"127.0.0.1:{free_port()}",
        **of_the_machine(),
    }
    said = tmp_path / "said.log"
    with said.open("wb") as log:
        script = subprocess.Popen(
            ["examples/scripts/own-broker.sh", folder, str(port)], cwd=clone, env=environment, stdout=log, stderr=log
        )
    hass: HomeAssistant | None = None
    try:
        until(
            lambda: "5. Home Assistant" in said.read_text() or script.poll() is not None, "the broker and the bot", 400
        )
        assert script.poll() is None, said.read_text()
        users = folder / "broker" / "clients"
        password = (users / "homeassistant" / "password").read_text().strip()
        hass = HomeAssistant(port, login=("homeassistant", password), ca=users / "homeassistant" / "ca.crt")
        hass.start()
        hass.wait("select.bot_mode", "STANDBY", 60)
        hass.wait("switch.bot_crypto_btc", "on")
        hass.do("select.select_option", "select.bot_mode", option="ACTIVE")
        hass.wait("select.bot_mode", "ACTIVE")
        assert hass.complaints() == []
        # On this machine there is a way without TLS too, for who has a password.
        with Watcher(port + 1, login=("me", (users / "me" / "password").read_text().strip())) as watcher:
            assert watcher.ask("flatten")["status"] == "EXECUTED"
        hass.wait("select.bot_mode", "STANDBY")
    finally:
        if hass is not None:
            hass.remove()
        script.send_signal(signal.SIGTERM)
        assert script.wait(30) == 0

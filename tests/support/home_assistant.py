"""The real Home Assistant, as a process on a free port; `tests/e2e/install_home_assistant` has put it there."""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from tests.support.net import free_port, until

VERSION = "2026.11.0"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
ROOT = Path(os.environ.get("HOME_ASSISTANT_ROOT", _CACHE / "allora-mqtt" / f"home-assistant-{VERSION}"))

_CONFIGURATION = """
homeassistant:
  name: Test
  unit_system: metric
  currency: USD
  country: NL
  language: en
  time_zone: UTC
  latitude: 52.1
  longitude: 5.1
  elevation: 1
frontend:
logger:
  default: warning
"""
"""Without default_config nothing looks for anything outside of this machine."""

_HTTP = {
    "server_host": ["127.0.0.1"],
    "cors_allowed_origins": [],
    "login_attempts_threshold": -1,
    "ip_ban_enabled": True,
    "ssl_profile": "intermediate_v6",
    "use_x_frame_options": True,
    "created_at": "2026-01-01T00:00:00+00:00",
    "error": None,
    "error_message": None,
}
_HTTP_STORE = {"version": 3, "minor_version": 1, "key": "http"}
"""Where it listens is read from its store; the same in YAML waits for somebody to confirm it."""
_ONBOARDED = {
    "version": 4,
    "minor_version": 1,
    "key": "onboarding",
    "data": {"done": ["core_config", "analytics", "integration"]},
}
"""Every step of the welcome but the first user's."""


class HomeAssistant:
    """Home Assistant with one user and MQTT, which remembers what it knew over a restart.

    Args:
        broker_port: where MQTT is.
        login: name and password there.
        ca: of the broker's certificate, to be uploaded as in the dialogue; no TLS without.
        configuration: what its `configuration.yaml` has besides.
        files: a folder whose content its configuration folder has besides.
    """

    def __init__(
        self,
        broker_port: int,
        configuration: str = "",
        files: Path | None = None,
        *,
        login: tuple[str, str] | None = None,
        ca: Path | None = None,
    ) -> None:
        self.port = free_port()
        self._broker_port = broker_port
        self._login = login
        self._ca = ca
        self._inside = f"/srv/config-{uuid.uuid4().hex[:8]}"
        self._folder = ROOT / self._inside.removeprefix("/")
        self._log = self._folder / "out.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._token = ""
        self._tokens: dict[str, Any] = {}
        self._looked_at = 0
        store = self._folder / ".storage"
        store.mkdir(parents=True)
        stable = {**_HTTP, "server_port": self.port}
        http = {**_HTTP_STORE, "data": {"stable": stable, "pending": None, "yaml_migration_done": True}}
        (store / "http").write_text(json.dumps(http))
        (store / "onboarding").write_text(json.dumps(_ONBOARDED))
        if files is not None:
            shutil.copytree(files, self._folder, dirs_exist_ok=True)
        (self._folder / "configuration.yaml").write_text(_CONFIGURATION + configuration)

    def start(self) -> None:
        """Start it, and wait until it answers; the first time a user and MQTT are set up."""
        environment = ["-i", "PATH=/srv/ha/bin:/usr/bin:/bin", "HOME=/root", "LANG=C.UTF-8"]
        hass = ["/srv/ha/bin/hass", "-c", self._inside, "--skip-pip"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["chroot", ROOT, "/usr/bin/env", *environment, *hass],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._answers, "Home Assistant", 120)
        if not self._token:
            self._welcome()
            self._add_mqtt()
        until(lambda: self._call("GET", "/api/config").get("state") == "RUNNING", "Home Assistant has started", 120)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def states(self) -> dict[str, dict[str, Any]]:
        """Return the entities by their ids."""
        found: list[dict[str, Any]] = self._call("GET", "/api/states")
        return {entity["entity_id"]: entity for entity in found}

    def state(self, entity_id: str) -> str | None:
        entity = self.states().get(entity_id)
        return None if entity is None else entity["state"]

    def wait(self, entity_id: str, expected: str, timeout_s: float = 20) -> None:
        try:
            until(lambda: self.state(entity_id) == expected, f"{entity_id} = {expected}", timeout_s)
        except AssertionError as late:
            raise AssertionError(f"{late}; it is {self.state(entity_id)}") from None

    def do(self, service: str, entity_id: str, **data: Any) -> None:
        """Call a service as a click does."""
        self._call("POST", f"/api/services/{service.replace('.', '/')}", {"entity_id": entity_id, **data})

    def render(self, template: str) -> str:
        return str(self._call("POST", "/api/template", {"template": template}))

    def fire(self, event: str) -> None:
        """Fire an event, as a button does."""
        self._call("POST", f"/api/events/{event}", {})

    @property
    def login(self) -> str:
        """A script that logs a browser in: its page keeps the tokens like this."""
        url = f"http://127.0.0.1:{self.port}"
        tokens = {**self._tokens, "hassUrl": url, "clientId": f"{url}/", "expires": 4_000_000_000_000}
        return f"localStorage.setItem('hassTokens', {json.dumps(json.dumps(tokens))})"

    def complaints(self) -> list[str]:
        """Return what it has said since the last look that warns or worse, about MQTT or about templates."""
        lines = self._log.read_text().splitlines()
        new, self._looked_at = lines[self._looked_at :], len(lines)
        loud = [line for line in new if " WARNING " in line or " ERROR " in line]
        return [line for line in loud if "mqtt" in line.lower() or "template" in line.lower()]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()[-3000:]
        try:
            self._call("GET", "/api/")
        except OSError as error:
            return isinstance(error, urllib.error.HTTPError) and error.code == 401
        return True

    def _welcome(self) -> None:
        client = f"http://127.0.0.1:{self.port}/"
        user = {"client_id": client, "name": "T", "username": "t", "password": uuid.uuid4().hex, "language": "en"}
        code = until(lambda: self._try_to_welcome(user), "the first user", 60)
        form = {"grant_type": "authorization_code", "code": code, "client_id": client}
        answer = self._tokens = self._send("POST", "/auth/token", urllib.parse.urlencode(form).encode())
        # A token for half an hour; the test is shorter.
        self._token = answer["access_token"]

    def _try_to_welcome(self, user: dict[str, str]) -> str | None:
        try:
            code: str = self._call("POST", "/api/onboarding/users", user)["auth_code"]
        except urllib.error.HTTPError:
            return None
        return code

    def _add_mqtt(self) -> None:
        flows = "/api/config/config_entries/flow"
        flow = self._call("POST", flows, {"handler": "mqtt", "show_advanced_options": False})
        fields = {field["name"] for field in flow["data_schema"]}
        data: dict[str, Any] = {"broker": "127.0.0.1", "port": self._broker_port}
        if "protocol" in fields:
            data["protocol"] = "5"
        if self._login is not None:
            data["username"], data["password"] = self._login
        if "other_settings" in fields:
            data["other_settings"] = {"set_client_cert": False, "set_ca_cert": "off"}
        if self._ca is not None:
            data["other_settings"] |= {"set_ca_cert": "custom", "certificate": self._upload(self._ca)}
        done = self._call("POST", f"{flows}/{flow['flow_id']}", data)
        assert done["type"] == "create_entry", done

    def _upload(self, file: Path) -> str:
        head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n\r\n'
        body = head.encode() + file.read_bytes() + b"\r\n--x--\r\n"
        return str(self._send("POST", "/api/file_upload", body, "multipart/form-data; boundary=x")["file_id"])

    def _call(self, method: str, path: str, body: object = None) -> Any:
        return self._send(method, path, None if body is None else json.dumps(body).encode(), "application/json")

    def _send(self, method: str, path: str, body: bytes | None, kind: str = "application/x-www-form-urlencoded") -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, method=method)
        request.add_header("Content-Type", kind)
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own
            text = answer.read().decode()
        return json.loads(text) if text[:1] in {"{", "["} else text

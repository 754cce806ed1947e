"""The real Node-RED on a free port, and Chromium to look at it; `tests/e2e/install_node_red` has put them there."""

import http
import http.client
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.net import free_port, until

_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
ROOT = Path(os.environ.get("NODE_RED_ROOT", _CACHE / "allora-mqtt" / "node-red"))
NODE = shutil.which("node")
CHROMIUM = shutil.which("chromium")

_SETTINGS = """
module.exports = {
  uiHost: '127.0.0.1', uiPort: +process.env.NODE_RED_PORT, credentialSecret: false,
  editorTheme: { tours: false }, telemetry: { enabled: false, updateNotification: false },
  externalModules: { autoInstall: false, palette: { allowInstall: false, catalogues: [] } },
}
"""


class NodeRed:
    """Node-RED with flows that are imported and deployed as its editor does it.

    Args:
        folder: where it keeps them.
        environment: what its environment says besides, for the flows to read.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        folder.mkdir()
        self.port = free_port()
        self._log = folder / "node-red.log"
        self._settings = folder / "settings.js"
        self._settings.write_text(_SETTINGS)
        (folder / "node_modules").symlink_to(ROOT / "node_modules")
        self._folder = folder
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "NODE_RED_PORT": str(self.port),
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program: list[str | Path] = [
            NODE or "node",
            ROOT / "node_modules" / "node-red" / "red.js",
            "-u",
            self._folder,
            "-s",
            self._settings,
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                program, cwd=self._folder, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(lambda: "Started flows" in self.said(), "Node-RED started", 60)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def deploy(self, *flows: Path) -> None:
        """Replace all flows by these, and wait until they run."""
        nodes = [node for flow in flows for node in json.loads(flow.read_text())]
        self.call("POST", "/flows", nodes)
        until(lambda: "Connected to broker" in self.said(), "the broker connected", 30)

    def press(self, node: str, flow: Path) -> None:
        """Press the button of the inject node of that name."""
        found = next(each["id"] for each in json.loads(flow.read_text()) if each.get("name") == node)
        self.call("POST", f"/inject/{found}", {})

    def call(self, method: str, path: str, content: object) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, json.dumps(content), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status < http.HTTPStatus.BAD_REQUEST, f"{method} {path}: {answer.status} {answer.read()!r}"
        connection.close()

    @property
    def dashboard(self) -> str:
        return f"http://127.0.0.1:{self.port}/dashboard/bot"

    def said(self) -> str:
        return self._log.read_text()

    def errors(self) -> list[str]:
        """Return what went wrong in nodes; "Started flows" is said even then."""
        return [line for line in self.said().splitlines() if "[error]" in line]


class Browser:
    """Chromium with one page. Its methods are those of Playwright's page and locators."""

    def __init__(self, width: int = 1280, height: int = 800, scheme: str = "light") -> None:
        program: list[str | Path] = [
            NODE or "node",
            Path(__file__).with_name("browser.mjs"),
            ROOT,
            CHROMIUM or "chromium",
        ]
        self._process = subprocess.Popen(
            [*program, str(width), str(height), scheme], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process.stdout.close()

    def do(self, selector: str | None, method: str, *args: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"selector": selector, "method": method, "args": args}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, f"{method} of {selector}: {answer['error']}"
        return answer["value"]

    def open(self, url: str) -> None:
        self.do(None, "goto", url)

    def click(self, selector: str) -> None:
        self.do(selector, "click")

    def type(self, selector: str, text: str) -> None:
        self.do(selector, "fill", text)

    def count(self, selector: str) -> int:
        found: int = self.do(selector, "count")
        return found

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.do(selector, "allInnerTexts")
        return found

    def is_checked(self, selector: str) -> bool:
        checked: bool = self.do(selector, "isChecked")
        return checked

    def see(self, selector: str, text: str = "", timeout_s: float = 15) -> None:
        """Wait until something is there, with this text in it."""
        until(lambda: any(text in found for found in self.texts(selector)), f"{text!r} in {selector}", timeout_s)

    def picture(self, path: Path) -> None:
        self.do(None, "screenshot", {"path": str(path)})

    def complaints(self) -> list[str]:
        """Return errors and warnings of the page, and requests to anywhere but this machine."""
        found: list[str] = self.do(None, "complaints")
        return found

"""The real mosquitto with `mosquitto/production.conf` and what `mosquitto/access` makes, on free ports."""

import signal
import ssl
import subprocess
from pathlib import Path

from tests.support.mosquitto import Mosquitto
from tests.support.net import free_port

SHIPPED = Path(__file__).parents[2] / "mosquitto"
PLAIN, TLS, CERTIFICATE, WEBSOCKETS = 1883, 8883, 8884, 9001
"""The listeners, by the ports that are shipped."""


class ProductionBroker(Mosquitto):
    """The shipped configuration; only ports and paths in it are others.

    Args:
        folder: where its files are to be.
    """

    def __init__(self, folder: Path) -> None:
        self.files = folder / "etc"
        self.ports = {listener: free_port() for listener in (TLS, CERTIFICATE, WEBSOCKETS)}
        self.access("init", "broker.lan")
        text = (SHIPPED / "production.conf").read_text().replace("/etc/mosquitto/", f"{self.files}/")
        for shipped, port in self.ports.items():
            assert f"\nlistener {shipped}\n" in text
            text = text.replace(f"\nlistener {shipped}\n", f"\nlistener {port}\n")
        config = folder / "production.conf"
        config.write_text(text)
        super().__init__(folder / "mosquitto", shipped=config)
        self.ports[PLAIN] = self.port

    def access(self, *words: str, password: str | None = None) -> str:
        """Run the shipped script on this broker's files, and return what it says."""
        command, *rest = words
        program: list[str | Path] = [SHIPPED / "access", command, "-d", self.files, *rest]
        done = subprocess.run(program, input=password, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def add(self, name: str, role: str, *options: str) -> None:
        self.access("add", *options, name, role)

    def append(self, lines: str) -> None:
        """Add to its configuration, before it is started."""
        self._config.write_text(f"{self._config.read_text()}\n{lines}")

    def reload(self) -> None:
        """Let it look at users and access rules again, as `systemctl reload` does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def said(self) -> str:
        """Return the broker's log."""
        return (self._folder / "mosquitto.log").read_text()

    def client(self, name: str) -> Path:
        """Return the folder that a user is given."""
        return self.files / "clients" / name

    def password(self, name: str) -> str:
        return (self.client(name) / "password").read_text()

    def trusting(self, certificate_of: str | None = None) -> ssl.SSLContext:
        """Return the TLS of a client that trusts the CA, with the certificate of a user where one is named."""
        context = ssl.create_default_context(cafile=str(self.files / "certs" / "ca.crt"))
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        if certificate_of is not None:
            folder = self.client(certificate_of)
            context.load_cert_chain(folder / "client.crt", folder / "client.key")
        return context

    def settings(self, name: str, listener: int) -> dict[str, str]:
        """Return the settings of a bot, or of the command line, that logs in by a listener as a user."""
        folder = self.client(name)
        where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(self.ports[listener])}
        if listener != CERTIFICATE:
            where |= {"MQTT_USERNAME": name, "MQTT_PASSWORD_FILE": str(folder / "password")}
        if listener != PLAIN:
            where |= {"MQTT_TLS": "true", "MQTT_TLS_CA": str(folder / "ca.crt")}
        if listener == CERTIFICATE:
            where |= {"MQTT_TLS_CERT": str(folder / "client.crt"), "MQTT_TLS_KEY": str(folder / "client.key")}
        if listener == WEBSOCKETS:
            where["MQTT_TRANSPORT"] = "websockets"
        return where

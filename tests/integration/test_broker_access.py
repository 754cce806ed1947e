"""`mosquitto/access`: what it writes, and what it does not take."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from allora_mqtt.discovery.device import config_topic
from allora_mqtt.protocol.topics import Topics
from tests.conftest import ROOT
from tests.support.mosquitto import MOSQUITTO

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (apt-get install mosquitto)")

ACCESS = ROOT / "mosquitto" / "access"


class Files:
    """A folder as `/etc/mosquitto` is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ACCESS, *words, "-d", self.folder], input=typed, capture_output=True, text=True, check=False, timeout=60
        )

    def done(self, *words: str, typed: str = "") -> str:
        done = self.run(*words, typed=typed)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    @property
    def rules(self) -> dict[str, list[str]]:
        """The lines of each user."""
        users = re.split(r"^user ", (self.folder / "acl").read_text(), flags=re.MULTILINE)[1:]
        return {
            user.splitlines()[0]: [line for line in user.splitlines()[1:] if not line.startswith("#")] for user in users
        }

    @property
    def passwords(self) -> dict[str, str]:
        return dict(line.split(":") for line in (self.folder / "passwords").read_text().splitlines())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path / "mosquitto")
    files.done("init", "broker.lan", "10.1.2.3", "fd00::1")
    return files


def test_the_script_is_clean() -> None:
    subprocess.run([Path(sys.executable).parent / "shellcheck", "-s", "sh", ACCESS], check=True, timeout=60)


def test_an_operator_may_write_just_the_topics_of_the_contract(files: Files) -> None:
    files.done("add", "alice", "operator", "-b", "bots/alice", "-b", "bots/+")
    wanted = []
    for base in ("bots/alice", "bots/+"):
        topics = Topics("bots/x")
        tails = [each.removeprefix("bots/x") for each in (*topics.command_filters(), topics.request_filter)]
        wanted += [f"topic read {base}/#", *(f"topic write {base}{tail}" for tail in tails)]
    assert sorted(files.rules["alice"]) == sorted(wanted)


@pytest.mark.parametrize("base", ["bot", "bots/alice", "a_b/c-d"])
def test_a_bot_may_write_its_own_discovery_topic(files: Files, base: str) -> None:
    files.done("add", "robot", "bot", "-b", base, "-p", "ha/x")
    assert f"topic readwrite {config_topic('ha/x', Topics(base))}" in files.rules["robot"]
    assert "topic read ha/x/status" in files.rules["robot"]
    settings = (files.folder / "clients" / "robot" / "bot.env").read_text()
    assert f"MQTT_BASE_TOPIC={base}\nMQTT_DISCOVERY_PREFIX=ha/x\nMQTT_CLIENT_ID=allora-mqtt-" in settings


def test_what_is_secret_only_its_owner_reads(files: Files) -> None:
    files.done("add", "robot", "bot", "-c")
    public = {"certs/ca.crt", "certs/server.crt"}
    modes = {str(each.relative_to(files.folder)): each.stat().st_mode & 0o777
             for each in files.folder.rglob("*") if each.is_file()}  # fmt: skip
    assert modes == {name: 0o644 if name in public else 0o600 for name in modes}
    assert "ca/ca.key" in modes
    assert (files.folder / "ca").stat().st_mode & 0o777 == 0o700
    assert (files.folder / "clients").stat().st_mode & 0o777 == 0o700


def test_users_come_change_and_go_and_leave_others_and_lines_by_hand_as_they_were(files: Files) -> None:
    files.done("add", "alice", "viewer")
    with (files.folder / "acl").open("a") as acl:
        acl.write(
            "\n# by hand: of nobody else's business\nuser hand\ntopic readwrite elsewhere/#\npattern read see/%u\n"
        )
    files.done("add", "bob", "operator")
    hand, alice = files.rules["hand"], files.passwords["alice"]
    files.done("add", "alice", "operator")
    assert files.rules["alice"] == files.rules["bob"]
    assert files.passwords["alice"] == alice
    files.done("password", "alice")
    assert files.passwords["alice"] != alice
    assert files.done("list").splitlines() == ["hand: by hand", "bob: operator of bot", "alice: operator of bot"]
    assert "alice" in files.done("remove", "alice")
    assert files.rules.keys() == {"hand", "bob"}
    assert files.rules["hand"] == hand
    assert "# by hand: of nobody else's business" in (files.folder / "acl").read_text()
    assert files.passwords.keys() == {"bob"}
    assert not (files.folder / "clients" / "alice").exists()


def test_a_new_certificate_of_the_broker_is_by_the_same_ca(files: Files) -> None:
    before = {name: (files.folder / name).read_bytes() for name in ("ca/ca.crt", "certs/ca.crt", "certs/server.crt")}
    files.done("add", "alice", "viewer")
    files.done("init", "other.lan")
    after = {name: (files.folder / name).read_bytes() for name in before}
    assert {name for name in before if before[name] != after[name]} == {"certs/server.crt"}
    assert files.rules.keys() == {"alice"}
    verify: list[str | Path] = ["openssl", "verify", "-CAfile", files.folder / "certs" / "ca.crt", "-verify_hostname"]
    words: list[str | Path] = ["other.lan", "-purpose", "sslserver", files.folder / "certs" / "server.crt"]
    subprocess.run([*verify, *words], check=True, capture_output=True)


def test_a_password_from_standard_input_is_taken_as_it_is(files: Files) -> None:
    files.done("add", "alice", "viewer", "-s", typed="two words $x \\n ü\n")
    assert (files.folder / "clients" / "alice" / "password").read_text() == "two words $x \\n ü"
    assert "two words" not in (files.folder / "passwords").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["add", "alice", "king"], "'king' is not a role"),
        (["add", "alice"], "'' is not a role"),
        (["add", "../x", "viewer"], "'../x' is not a name"),
        (["add", "a:b", "viewer"], "'a:b' is not a name"),
        (["add", "#", "viewer"], "'#' is not a name"),
        (["add", "x" * 65, "viewer"], "too long"),
        (["add", "alice", "viewer", "bot"], "what is 'bot'?"),
        (["add", "alice", "viewer", "-b", "#"], "'#' is not a base topic"),
        (["add", "alice", "viewer", "-b", "bot/"], "'bot/' is not a base topic"),
        (["add", "alice", "viewer", "-b", "a+/b"], "'+' stands for a whole level"),
        (["add", "alice", "bot", "-b", "bots/+"], "'bots/+' is many"),
        (["add", "alice", "bot", "-b", "a", "-b", "b"], "one base topic"),
        (["add", "alice", "viewer", "-p", "+"], "'+'"),
        (["add", "alice", "viewer", "-s"], "no password on standard input"),
        (["remove", "nobody"], "there is no user nobody"),
        (["password", "nobody"], "there is no user nobody"),
        (["certificate", "nobody"], "there is no user nobody"),
        (["init"], "which names or addresses"),
        (["init", "a,DNS:b"], "neither a host name nor an address"),
        (["dance"], "usage:"),
    ],
)
def test_it_says_what_is_wrong_and_changes_nothing(files: Files, words: list[str], says: str) -> None:
    files.done("add", "bob", "operator")
    before = {each: each.read_bytes() for each in files.folder.rglob("*") if each.is_file()}
    done = files.run(*words)
    assert done.returncode == 2
    assert says in done.stderr
    assert {each: each.read_bytes() for each in files.folder.rglob("*") if each.is_file()} == before


def test_without_init_it_says_so(tmp_path: Path) -> None:
    done = Files(tmp_path / "nothing").run("add", "alice", "viewer")
    assert done.returncode == 2
    assert "begin with: access init" in done.stderr

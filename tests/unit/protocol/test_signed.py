import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allora_mqtt.protocol.commands import ACTIONS, Body, Envelope, SetMode, write
from allora_mqtt.protocol.errors import ErrorCode, Rejected
from allora_mqtt.protocol.reading import read
from allora_mqtt.protocol.signed import Keys, Proof
from allora_mqtt.protocol.topics import Topics
from tests.conftest import ROOT
from tests.unit.protocol.strategies import instances

SECRET = "0123456789abcdef" * 4
ALICE = Keys({"alice": SECRET})
TOPICS = Topics("bots/alice")
TOPIC = "bots/alice/mode/set"
VECTORS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("signed_vectors.json").read_text())
MODELS: list[type[Body]] = [SetMode, *ACTIONS.values()]
commands: st.SearchStrategy[Body] = st.sampled_from(MODELS).flatmap(instances)


def checked(keys: Keys, topic: str, payload: bytes) -> str:
    """Return who has signed a payload.

    Raises:
        Rejected: nobody who is known.
    """
    address = TOPICS.address(topic) or Topics("bot").address(topic)
    assert address is not None
    parsed = read(address, payload)
    if parsed.proof is None:
        raise parsed.error or AssertionError("it brings no proof")
    keys.check(parsed.proof, topic)
    return parsed.proof.key


@given(body=commands, envelope=instances(Envelope))
def test_what_is_signed_is_read_as_what_was_meant(body: Body, envelope: Envelope) -> None:
    address, payload = write(body, envelope)
    topic = TOPICS.command(address)
    parsed = read(address, ALICE.sign(topic, payload))
    assert (parsed.body, parsed.envelope, parsed.error) == (body, envelope, None)
    assert checked(ALICE, topic, ALICE.sign(topic, payload)) == "alice"


@given(at=st.integers(min_value=0), by=st.integers(1, 255), body=commands, envelope=instances(Envelope))
def test_a_change_of_any_byte_that_is_covered_breaks_the_signature(
    at: int, by: int, body: Body, envelope: Envelope
) -> None:
    address, payload = write(body, envelope)
    topic = TOPICS.command(address)
    outer = json.loads(ALICE.sign(topic, payload))
    text = outer["signed"].encode()
    at %= len(text)
    changed = text[:at] + bytes([text[at] ^ by]) + text[at + 1 :]
    outer["signed"] = changed.decode("latin-1")
    with pytest.raises(Rejected) as caught:
        checked(ALICE, topic, json.dumps(outer).encode())
    assert caught.value.code is ErrorCode.BAD_SIGNATURE


@given(at=st.integers(min_value=0), by=st.integers(1, 255))
def test_a_change_of_any_byte_of_a_signed_payload_leads_to_no_other_command(at: int, by: int) -> None:
    payload = ALICE.sign(TOPIC, b'{"value":"ACTIVE","id":"a","issued_at":"2026-01-01T00:00:00Z"}')
    at %= len(payload)
    changed = payload[:at] + bytes([payload[at] ^ by]) + payload[at + 1 :]
    try:
        checked(ALICE, TOPIC, changed)
    except Rejected:
        return
    # What is left is another way to write the same: a hexadecimal digit in upper case.
    assert changed.lower() == payload


@given(signature=st.text() | st.from_regex(r"[0-9a-f]{64}", fullmatch=True), key=st.text(max_size=40))
def test_no_other_signature_is_taken(signature: str, key: str) -> None:
    text = '{"topic":"bots/alice/mode/set","value":"ACTIVE"}'
    with pytest.raises(Rejected) as caught:
        ALICE.check(Proof(text, key, signature, TOPIC), TOPIC)
    assert caught.value.code is ErrorCode.BAD_SIGNATURE
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "payload",
    [
        '{"signed":1,"key":"alice","signature":""}',
        '{"signed":"{}","key":"alice"}',
        '{"signed":"{}","signature":""}',
        '{"signed":"{}","key":"alice","signature":"","value":"ACTIVE"}',
        '{"signed":null,"key":null,"signature":null}',
        f'{{"signed":"{{}}","key":"alice","signature":"{"0" * 63}"}}',
        '{"signed":"[]","key":"bob","signature":""}',
    ],
)
def test_what_has_not_the_form_of_a_signed_command_is_refused(payload: str) -> None:
    with pytest.raises(Rejected) as caught:
        checked(ALICE, TOPIC, payload.encode())
    assert caught.value.code is ErrorCode.BAD_SIGNATURE


def test_a_command_for_another_topic_or_another_bot_is_refused() -> None:
    payload = ALICE.sign("bots/bob/mode/set", b'{"value":"ACTIVE"}')
    with pytest.raises(Rejected, match="signed for the topic 'bots/bob/mode/set' and came to 'bots/alice/mode/set'"):
        checked(ALICE, TOPIC, payload)
    unsaid = {"signed": "{}", "key": "alice", "signature": ALICE._signature("alice", "{}")}
    with pytest.raises(Rejected, match="signed for the topic 'None'"):
        checked(ALICE, TOPIC, json.dumps(unsaid).encode())


def test_a_sender_s_secret_does_not_sign_for_another() -> None:
    both = Keys({"alice": SECRET, "bob": "b" * 32})
    as_bob = both.sign(TOPIC, b"{}").replace(b'"key":"alice"', b'"key":"bob"')
    with pytest.raises(Rejected, match="not signed with the secret of 'bob'"):
        checked(both, TOPIC, as_bob)
    assert checked(both, TOPIC, both.sign(TOPIC, b"{}")) == "alice"
    assert checked(both, TOPIC, Keys({"bob": "b" * 32}).sign(TOPIC, b"{}")) == "bob"


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["says"])
def test_the_vectors(vector: dict[str, Any]) -> None:
    keys = Keys.parse(vector["setting"])
    payload = json.dumps({name: vector[name] for name in ("signed", "key", "signature")})
    assert checked(keys, vector["topic"], payload.encode()) == vector["key"]
    address = TOPICS.address(vector["topic"]) or Topics("bot").address(vector["topic"])
    assert address is not None
    assert read(address, payload.encode()).body == read(address, json.dumps(vector["command"]).encode()).body
    mine = json.loads(keys.sign(vector["topic"], json.dumps(vector["command"]).encode()))
    if vector["signed"].isascii() and " " not in vector["signed"]:
        assert mine == json.loads(payload)


@pytest.mark.parametrize("kept", ["MQTT_COMMAND_SECRET", "MQTT_COMMAND_SECRET_FILE"])
@pytest.mark.parametrize("vector", VECTORS[:4], ids=lambda vector: vector["says"])
def test_the_shell_signs_as_the_program_does(vector: dict[str, Any], kept: str, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    setting = vector["setting"]
    if kept.endswith("_FILE"):
        (tmp_path / "secret").write_text(setting.replace(",", "\n") + "\n")
        setting = str(tmp_path / "secret")
    where, command = vector["topic"], vector["command"]
    base = re.split(r"/(?:mode|config|request)/", where)[0]
    fields = json.dumps({key: value for key, value in command.items() if key not in {"id", "issued_at"}})[1:-1]
    said = {"ID": command["id"], "AT": command["issued_at"], "BASE": base, kept: setting}
    words = ["sh", str(ROOT / "examples/scripts/signed.sh"), "-n", where.removeprefix(f"{base}/"), fields]
    done = subprocess.run(words, env={"PATH": os.environ["PATH"], **said}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert checked(Keys.parse(vector["setting"]), where, done.stdout.encode()) == vector["key"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no secret"),
        (" , \n", "no secret"),
        ("short", "32 to 64 characters"),
        ("x" * 65, "32 to 64 characters"),
        ("with a space in it, which no shell likes", "32 to 64 characters"),
        (f":{SECRET}", "before ':'"),
        (f"al ice:{SECRET}", "before ':'"),
        (f"{SECRET},{SECRET[::-1]}", "there twice"),
        (f"a:{SECRET},b:{SECRET}", "there twice"),
    ],
)
def test_a_setting_that_cannot_be_used_is_told_of_without_repeating_it(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        Keys.parse(text)
    assert not text.strip() or text.strip() not in str(caught.value)


def test_nothing_shows_a_secret() -> None:
    assert repr(ALICE) == "Keys(alice)"
    assert SECRET not in f"{ALICE} {Keys.parse(SECRET)!r}"


def test_the_example_in_the_docs() -> None:
    text = (ROOT / "docs/signing.md").read_text()
    (payload,) = re.findall(r"^```json\n(.+)\n```$", text, re.MULTILINE)
    assert checked(Keys.parse(SECRET), "bot/mode/set", payload.encode()) == "default"

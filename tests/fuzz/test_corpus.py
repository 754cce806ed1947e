"""Every input that once was a fault, and one valid example of each form, again and again."""

from pathlib import Path

from allora_mqtt.protocol.commands import ACTIONS
from tests.fuzz import CORPUS
from tests.fuzz.answers import Answers
from tests.fuzz.commands import Commands, Message


def kept(target: str) -> list[Path]:
    return sorted((CORPUS / target).iterdir())


async def test_answers_that_once_were_a_fault() -> None:
    target, names = Answers(), set()
    for example in kept("answers"):
        data = example.read_bytes()
        names.add(data.partition(b"\n")[0].decode())
        taken = await target.must_hold(data)
        assert taken or not example.name.startswith("good_"), f"{example.name} is a good answer and was refused"
    await target.close()
    assert names == set(target.names), "an example of each kind of answer is kept"


async def test_messages_that_once_were_a_fault() -> None:
    target, topics = Commands(), set()
    for example in kept("commands"):
        message = Message.from_bytes(example.read_bytes())
        topics.add(message.topic)
        executed = await target.hold(message)
        assert executed or not example.name.startswith("good_"), f"{example.name} is a good command and was refused"
    await target.close()
    assert {f"request/{action}" for action in ACTIONS} <= topics, "an example of each action is kept"


def test_a_message_is_written_as_it_is_read() -> None:
    for example in kept("commands"):
        message = Message.from_bytes(example.read_bytes())
        assert Message.from_bytes(message.to_bytes()) == message

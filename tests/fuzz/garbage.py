"""Makes inputs: what is almost right, and what is wrong in every way that somebody thought of."""

import json
import re
from dataclasses import replace
from random import Random
from typing import Final

from hypothesis import strategies as st

from allora_mqtt.protocol.commands import ACTIONS
from tests.fuzz import CORPUS
from tests.fuzz.commands import KEYS, Message

GOOD_MESSAGES: Final = tuple(
    Message.from_bytes(path.read_bytes()) for path in sorted((CORPUS / "commands").glob("good_*"))
)
GOOD_ANSWERS: Final = tuple(path.read_bytes() for path in sorted((CORPUS / "answers").glob("good_*")))

_LONG: Final = 64 * 1024
_SCALAR: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|true|false|null')
_NASTY: Final = tuple(
    text.encode()
    for text in (
        *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-99999999", '"NaN"', '"1e19"', '"1e-19"', "-1", "0"),
        *("9" * 30, "9" * 4000, "9" * 5000, '"' + "9" * 90 + '"', "0." + "3" * 5000, "1e19", "1795000000000", "true"),
        *(
            "null",
            "[]",
            "{}",
            '""',
            '"\\ud800"',
            '"\\u0000"',
            '"\\u202e"',
            '"#"',
            '"a/+/b"',
            '" "',
            '"' + "x" * 70 + '"',
        ),
        *("[" * 70 + "]" * 70, "[" * 3000, '{"a":' * 70 + "1" + "}" * 70, '"ACTIVE"', '{"a":1,"a":2}', '"\ufeff"'),
        *(
            '"0001-01-01T00:00:00+14:00"',
            '"9999-12-31T23:59:59Z"',
            '"2026-11-20T12:00:00"',
            '"\u017fOL"',
            '"' + "x" * 999 + '"',
        ),
    )
)
_BARE: Final = (
    *(b"", b" ", b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbfACTIVE", b"ACTIVE\0", b"active!", b"{", b"[", b'"'),
    *("ACTIVE".encode("utf-16"), b"NaN", b"1e999", b"[" * 30_000, b"x" * _LONG, b"x" * (_LONG - 1), b"x" * (_LONG + 1)),
    *(b"BTC:0", b"BTC:14:price", b",", b"BTC,BTC", b"\xf0\x9f\x92\xa9", b'{"value":' * 5000, b"-0", b"0x10", b"1_0"),
)
_PARTS: Final = (
    "",
    " ",
    "BTC",
    "set",
    "\u017fOL",
    "A" * 500,
    "\u202e",
    "💩",
    "..",
    "%23",
    "$SYS",
    "a b",
    "A.B",
    "__proto__",
)
_OTHER_TOPICS: Final = (
    *("heartbeat", "mode", "cryptos", "cryptos/BTC", "config", "status", "response/ping", "response/mode", "mode/set/"),
    *("event/command", "availability", "", "/", "request", "request/ping/x", "cryptos/BTC/x/set", "last_command"),
)
_RESPONSE_TOPICS: Final = (
    "answers/here",
    "a/#",
    "+",
    "",
    "$SYS/x",
    "bot/mode/set",
    "bot",
    "x" * 3000,
    "bot/../mode/set",
)
_USER: Final = (
    *(("id", "a-1"), ("id", ""), ("id", "x" * 129), ("id", "\x01"), ("source", "node-red"), ("issued_at", "soon")),
    *(("issued_at", "9999-12-31T23:59:59Z"), ("expires_at", "0001-01-01T00:00:00Z"), ("transaction", "{}"), ("", "")),
)


def mutated(random: Random, content: bytes) -> bytes:
    """Return it with some faults: a value replaced by a nasty one, bytes changed, left out, put in, doubled."""
    for _ in range(random.randint(1, 3)):
        scalars = list(_SCALAR.finditer(content))
        at = random.randrange(len(content) + 1)
        match random.randrange(7):
            case 0 | 1 | 2 if scalars:
                found = random.choice(scalars)
                content = content[: found.start()] + random.choice(_NASTY) + content[found.end() :]
            case 3:
                content = content[:at] + random.randbytes(random.randint(1, 4)) + content[at + random.randint(0, 4) :]
            case 4:
                content = content[:at]
            case 5:
                content = content[:at] + content[max(0, at - random.randint(1, 40)) :]
            case _:
                content = content[:at] + random.choice(_NASTY) + content[at:]
    return content


def signed(random: Random, topic: str, payload: bytes) -> bytes:
    """Return it signed, or almost."""
    text = payload.decode(errors="replace")
    try:
        made = KEYS.sign(f"bot/{topic}", payload)
    except (ValueError, TypeError, RecursionError):
        made = json.dumps({"signed": text, "key": "fuzz", "signature": KEYS._signature("fuzz", text)}).encode()
    return mutated(random, made) if random.random() < 0.4 else made


def message(random: Random) -> Message:
    """Return a message that is no command, or almost one, or one after all."""
    good = random.choice(GOOD_MESSAGES)
    payload = random.choice(
        (
            lambda: mutated(random, good.payload),
            lambda: mutated(random, random.choice(GOOD_MESSAGES).payload),
            lambda: random.choice(_BARE),
            lambda: random.randbytes(random.randint(0, 60)),
            lambda: json.dumps(
                {"value": random.choice(("ACTIVE", "ON", 1e300)), "id": "x" * random.randint(0, 200)}
            ).encode(),
        )
    )()
    topic = random.choice(
        (
            lambda: good.topic,
            lambda: good.topic,
            lambda: f"cryptos/{random.choice(_PARTS)}/set",
            lambda: f"config/{random.choice(_PARTS)}/set",
            lambda: f"request/{random.choice((*_PARTS, *ACTIONS))}",
            lambda: random.choice(_OTHER_TOPICS),
        )
    )()
    if random.random() < 0.25:
        payload = signed(random, topic, payload)
    made = Message(topic, payload, retained=random.random() < 0.2, qos=int(random.random() < 0.8))
    if random.random() < 0.7:
        return made
    return replace(
        made,
        expires_in_s=random.choice((None, 0, 1, 30, 2**32 - 1)),
        response_topic=random.choice((None, *_RESPONSE_TOPICS)),
        correlation=random.choice((None, b"", b"c-1", b"\xff\0", random.randbytes(200))),
        properties=tuple(random.sample(_USER, random.randint(0, 3))),
    )


def answer(random: Random) -> bytes:
    """Return an answer that is almost right: an input of the target `answers`."""
    name, _, body = random.choice(GOOD_ANSWERS).partition(b"\n")
    return name + b"\n" + mutated(random, body)


_topic_texts = st.text(st.characters(codec="utf-8", exclude_characters="/+#\0"), max_size=40)
topics: st.SearchStrategy[str] = st.one_of(
    st.sampled_from(sorted({good.topic for good in GOOD_MESSAGES})),
    st.sampled_from(_OTHER_TOPICS),
    _topic_texts,
    st.builds("{}/{}/set".format, st.sampled_from(["cryptos", "config", "mode"]), _topic_texts),
    st.builds("request/{}".format, _topic_texts),
)
_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=140)

messages: st.SearchStrategy[Message] = st.one_of(
    st.randoms(use_true_random=False).map(message),
    st.builds(
        Message,
        topics,
        st.binary(max_size=200) | _texts.map(str.encode),
        st.booleans(),
        st.sampled_from([0, 1]),
        st.none() | st.integers(0, 2**32 - 1),
        st.none() | _texts,
        st.none() | st.binary(max_size=200),
        st.lists(st.tuples(_texts, _texts), max_size=3).map(tuple),
    ),
)

answers: st.SearchStrategy[bytes] = st.one_of(
    st.randoms(use_true_random=False).map(answer),
    st.builds(
        lambda name, body: name + b"\n" + body,
        st.sampled_from(sorted({good.partition(b"\n")[0] for good in GOOD_ANSWERS})),
        st.binary(max_size=200),
    ),
)

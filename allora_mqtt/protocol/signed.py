"""Signed commands: how a sender proves that a command is its own, on a broker where others may write too.

The payload is `{"signed": "<text>", "key": "<id>", "signature": "<64 hexadecimal digits>"}`. The text is the command as
one JSON object: its full `topic`, the value or the arguments, and the envelope, with `id` and `issued_at`. The
signature is HMAC-SHA256 of the text's UTF-8 bytes. What is signed travels as it was signed, as in JSON Web Signature
(RFC 7515), so that nobody has to write a number or sort keys as somebody else would.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from pydantic import JsonValue

from allora_mqtt.protocol.errors import ErrorCode, Rejected, excerpt

DEFAULT_KEY: Final = "default"
"""The id of a secret that is given without one."""

_FIELDS: Final = frozenset({"signed", "key", "signature"})
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SECRET: Final = re.compile(r"[A-Za-z0-9._~+/=-]{32,64}")
"""Long enough not to be guessed by who has seen a signed command; no longer than HMAC's block, which shells can pad."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a payload says of who has signed it; nothing is known of its truth yet.

    Attributes:
        text: what was signed.
        key: whose secret it was signed with.
        signature: in hexadecimal.
        topic: where the signer sent it; None where the text does not say.
    """

    text: str
    key: str
    signature: str
    topic: str | None = None


class Keys:
    """The secrets of those who may command, by id.

    Args:
        secrets: at least one; the first is the one that is signed with.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = {key: secret.encode() for key, secret in secrets.items()}

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `secret`, or `alice:secret,node-red:other`; a line is as good as a comma.

        Raises:
            ValueError: with what to do; what was written is not repeated.
        """
        secrets: dict[str, str] = {}
        for part in filter(None, (part.strip() for part in re.split(r"[,\n]", text))):
            key, colon, secret = part.rpartition(":")
            key = key if colon else DEFAULT_KEY
            if not _KEY.fullmatch(key):
                raise ValueError("what stands before ':' is a sender's id of letters, digits, '-' and '_', as alice")
            if not _SECRET.fullmatch(secret):
                raise ValueError("a secret has 32 to 64 characters without spaces; `openssl rand -hex 32` makes one")
            if key in secrets or secret in secrets.values():
                raise ValueError("an id or a secret is there twice; each sender has an id and a secret of its own")
            secrets[key] = secret
        if not secrets:
            raise ValueError("it holds no secret; `openssl rand -hex 32` makes one")
        return cls(secrets)

    def __repr__(self) -> str:
        return f"Keys({', '.join(self._secrets)})"

    def sign(self, topic: str, payload: bytes) -> bytes:
        """Return the payload that carries a command's JSON payload and its proof.

        Args:
            topic: where it is sent, in full.
            payload: a JSON object, as `commands.write` makes it.
        """
        key = next(iter(self._secrets))
        text = json.dumps({"topic": topic, **json.loads(payload)}, separators=(",", ":"))
        wrapped = {"signed": text, "key": key, "signature": self._signature(key, text)}
        return json.dumps(wrapped, separators=(",", ":")).encode()

    def check(self, proof: Proof, topic: str) -> None:
        """Make sure that one of the senders has signed this, for this topic.

        Raises:
            Rejected: `BAD_SIGNATURE`.
        """
        if proof.key not in self._secrets:
            message = f"No sender {excerpt(proof.key)} is known here; MQTT_COMMAND_SECRET of the bot has their ids."
            raise Rejected(ErrorCode.BAD_SIGNATURE, message)
        wanted = self._signature(proof.key, proof.text)
        if not hmac.compare_digest(wanted.encode(), proof.signature.lower().encode()):
            message = f"It is not signed with the secret of {proof.key!r}, or was changed on its way."
            raise Rejected(ErrorCode.BAD_SIGNATURE, message)
        if proof.topic != topic:
            message = f"It was signed for the topic {excerpt(proof.topic)} and came to {excerpt(topic)}."
            raise Rejected(ErrorCode.BAD_SIGNATURE, message)

    def _signature(self, key: str, text: str) -> str:
        return hmac.new(self._secrets[key], text.encode(), hashlib.sha256).hexdigest()


def proof_in(content: JsonValue) -> Proof | None:
    """Return the proof in a payload's JSON; None where it claims no signature.

    Raises:
        Rejected: `BAD_SIGNATURE`; it claims one and has not the form of one.
    """
    if not isinstance(content, dict) or "signed" not in content:
        return None
    text, key, signature = (content.get(name) for name in ("signed", "key", "signature"))
    if isinstance(text, str) and isinstance(key, str) and isinstance(signature, str) and content.keys() == _FIELDS:
        return Proof(text, key, signature)
    message = 'A signed command is {"signed":"…","key":"…","signature":"…"}, three texts and nothing else.'
    raise Rejected(ErrorCode.BAD_SIGNATURE, message)

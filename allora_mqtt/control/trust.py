"""Who may command: signatures, the window in which they count, and what becomes of commands by anybody else.

What is refused here has come from anybody, and as often as anybody likes. So it takes no id away from a real command,
and only so much of it is answered and written down; the rest is counted.
"""

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from allora_mqtt.protocol.commands import Envelope
from allora_mqtt.protocol.errors import ErrorCode, Rejected
from allora_mqtt.protocol.messages import SignedCommands
from allora_mqtt.protocol.model import rfc3339
from allora_mqtt.protocol.reading import Parsed
from allora_mqtt.protocol.signed import Keys

log = logging.getLogger(__name__)

Unsigned = Literal["refuse", "reduce_risk"]

_CLOCK_AHEAD: Final = timedelta(hours=1)
"""How far ahead a sender's clock may be: one further off makes commands that could be held back for as long."""
_BURST: Final = 20
_ONE_EACH: Final = timedelta(seconds=10)
"""So many refused commands are written down at once, and then one in this time."""
_LONGEST_TOPIC: Final = 256
_LONGEST_NAME: Final = 64
_REPLAYS_KNOWN: Final = 10_000
_COUNTED: Final = {ErrorCode.BAD_SIGNATURE: "forged", ErrorCode.STALE_SIGNATURE: "stale"}


@dataclass(frozen=True, slots=True)
class Judged:
    """A command and what is believed of it.

    Attributes:
        parsed: the command, or why it is none.
        kept: the envelope for the journal; without an id where that could be somebody else's.
        is_trusted: whether it came from one who may command.
    """

    parsed: Parsed
    kept: Envelope
    is_trusted: bool = True


class Trust:
    """Judges commands that came over MQTT.

    Args:
        keys: of those who may command; None where anybody may.
        unsigned: what becomes of commands without a signature, where there are keys.
        window: how old a signed command may be that does not take risk away.
    """

    def __init__(self, keys: Keys | None, unsigned: Unsigned = "refuse", window: timedelta = timedelta(days=7)) -> None:
        self._keys = keys
        self._unsigned = unsigned
        self._window = window
        self._began: datetime | None = None
        self._room = float(_BURST)
        self._room_at: datetime | None = None
        self._known: dict[str, None] = {}
        self._counts = SignedCommands(unsigned=0, forged=0, stale=0, replayed=0, dropped=0)

    @property
    def counts(self) -> SignedCommands | None:
        """What was refused since the start; None where nothing is demanded."""
        return None if self._keys is None else self._counts

    def remembers_since(self, began: datetime) -> None:
        """Be told since when the journal knows every id that came."""
        self._began = began

    def judge(self, parsed: Parsed, topic: str, now: datetime) -> Judged:
        """Decide whether a command is to be believed.

        Args:
            parsed: the command, with its proof where it brought one.
            topic: where it came in.
            now: the time of the decision.
        """
        if self._keys is None:
            return Judged(parsed, parsed.envelope)
        envelope = parsed.envelope
        # A stranger's age and id are not believed: they could keep out what others send.
        kept = Envelope(source=envelope.source)
        shown = Envelope(id=envelope.id, source=envelope.source)
        body = parsed.body
        if parsed.proof is None and self._unsigned == "reduce_risk" and body is not None and body.reduces_risk:
            return Judged(
                replace(parsed, envelope=shown.model_copy(update={"transaction": envelope.transaction})), kept
            )
        try:
            signer = self._signer(self._keys, parsed, topic)
            self._check_age(parsed, now)
        except Rejected as refusal:
            return Judged(Parsed.refused(parsed.name[:_LONGEST_NAME], shown, refusal), kept, is_trusted=False)
        return Judged(replace(parsed, signed_by=signer), envelope)

    def signer_of(self, parsed: Parsed, topic: str) -> str | None:
        """Return who has signed a command that was accepted before."""
        if self._keys is None or parsed.proof is None:
            return None
        try:
            return self._signer(self._keys, parsed, topic)
        except Rejected:
            return None

    def takes(self, judged: Judged, topic: str, payload_hash: str, now: datetime) -> bool:
        """Tell whether a command is written down and answered; count it where it is not to be believed.

        Args:
            judged: the command.
            topic: where it came in.
            payload_hash: of its payload.
            now: the time.
        """
        refusal = None if judged.is_trusted else judged.parsed.error
        if refusal is None and (judged.parsed.signed_by is None or payload_hash not in self._known):
            self._remember(judged.parsed, payload_hash)
            return True
        has_room = self._has_room(now) and len(topic) <= _LONGEST_TOPIC
        if refusal is not None:
            self._add(_COUNTED.get(refusal.code, "unsigned"))
            if has_room:
                log.warning("A command on %s was refused: %s", topic, refusal.message)
        elif not has_room:
            self.was_replayed()
        if not has_room:
            self._add("dropped")
        return has_room

    def was_replayed(self) -> None:
        """A signed command came that had come before."""
        self._add("replayed")

    @staticmethod
    def _signer(keys: Keys, parsed: Parsed, topic: str) -> str:
        if parsed.proof is None:
            if parsed.error is not None and parsed.error.code in {ErrorCode.BAD_SIGNATURE, ErrorCode.TOO_LARGE}:
                raise parsed.error
            message = (
                "This bot takes signed commands only. Set MQTT_COMMAND_SECRET for `allora-mqtt` as the bot has it, or "
                "sign as docs/signing.md says. MQTT_UNSIGNED_COMMANDS=reduce_risk lets STANDBY, OFF, close and flatten "
                "through unsigned."
            )
            raise Rejected(ErrorCode.NOT_SIGNED, message)
        keys.check(parsed.proof, topic)
        return parsed.proof.key

    def _check_age(self, parsed: Parsed, now: datetime) -> None:
        """Refuse what has no id or no time of its own, or a time at which it may have run and been forgotten."""
        command_id, issued_at = parsed.envelope.id, parsed.envelope.issued_at
        if parsed.error is not None:
            return
        if command_id is None or issued_at is None:
            message = 'A signed command needs "id" and "issued_at" in what is signed, so that nobody can send it again.'
            raise Rejected(ErrorCode.BAD_SIGNATURE, message)
        takes_risk_away = parsed.body is not None and parsed.body.reduces_risk
        if issued_at > now + _CLOCK_AHEAD and not takes_risk_away:
            message = f"It was issued at {rfc3339(issued_at)}, which is to come; set the sender's clock by NTP."
            raise Rejected(ErrorCode.STALE_SIGNATURE, message)
        oldest = now - self._window
        if takes_risk_away and self._began is not None:
            # The journal knows the id of each command that came since it was begun, so that this one is no replay.
            oldest = min(oldest, self._began)
        if issued_at < oldest:
            message = (
                f"It was signed at {rfc3339(issued_at)}, longer ago than MQTT_COMMAND_WINDOW_S allows, and may be a "
                "replay; send it again if it is still wanted."
            )
            raise Rejected(ErrorCode.STALE_SIGNATURE, message)

    def _remember(self, parsed: Parsed, payload_hash: str) -> None:
        if parsed.signed_by is not None:
            self._known[payload_hash] = None
            if len(self._known) > _REPLAYS_KNOWN:
                del self._known[next(iter(self._known))]

    def _add(self, what: str) -> None:
        self._counts = self._counts.model_copy(update={what: getattr(self._counts, what) + 1})

    def _has_room(self, now: datetime) -> bool:
        since = timedelta(0) if self._room_at is None else max(now - self._room_at, timedelta(0))
        self._room, self._room_at = min(_BURST, self._room + since / _ONE_EACH), now
        if self._room < 1:
            return False
        self._room -= 1
        return True

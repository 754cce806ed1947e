"""Whether a command may run, given its age and what came before it. Values in, values out.

More risk needs freshness, less risk never expires; and an older command never undoes a newer one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from itertools import product
from typing import Final, Literal

from allora_mqtt.control.desired import Desired
from allora_mqtt.protocol.commands import (
    Action,
    Activate,
    ActivateSet,
    Body,
    Envelope,
    Mode,
    ResetBreaker,
    SetConfig,
    SetCrypto,
    SetCryptos,
    SetMode,
    Switch,
)
from allora_mqtt.protocol.errors import ErrorCode, Rejected
from allora_mqtt.protocol.messages import ErrorInfo, Status
from allora_mqtt.protocol.model import rfc3339
from allora_mqtt.protocol.runtime import HardLimits, RuntimeSettings

_CLOCK_DIFFERENCE: Final = timedelta(seconds=5)
_FARTHEST_AHEAD: Final = timedelta(days=1)
"""No clock is wrong by more and still believed: one in the year 9999 would supersede everything that comes after."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a command does not run."""

    status: Status
    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class WaitingPolicy:
    """What becomes of commands that raise risk and were sent while the bot was away (`BOT_WAITING_ACTIVATION`)."""

    rule: Literal["run", "fresh", "reject"]
    max_age_s: float


def raises_risk(body: Body, desired: Desired) -> bool:
    """Tell whether a command would let the bot risk more than it may now."""
    match body:
        case SetMode(value=mode):
            return mode is Mode.ACTIVE
        case SetCrypto(value=switch):
            return switch is Switch.ON
        case SetCryptos(value=wanted):
            return any(symbol.upper() not in {name.upper() for name in desired.active} for symbol in wanted)
        case SetConfig(value=values):
            return _raises_a_limit(values, desired.settings)
    return isinstance(body, (Activate, ActivateSet, ResetBreaker))


def _raises_a_limit(values: Mapping[str, object], present: RuntimeSettings) -> bool:
    try:
        return present.raises_risk(present.changed(values, HardLimits()))
    except Rejected:
        return False


def things(body: Body) -> frozenset[str]:
    """Return what a command sets: `mode`, `cryptos/BTC`, `cryptos/*` for all of them, `config/<key>`."""
    match body:
        case SetMode():
            return frozenset({"mode"})
        case SetCrypto(symbol=symbol) | Activate(symbol=symbol):
            return frozenset({f"cryptos/{symbol.upper()}"})
        case SetCryptos():
            return frozenset({"cryptos/*"})
        case SetConfig(value=values):
            return frozenset(f"config/{key}" for key in values)
    return frozenset()


def issued_after(
    desired: Desired, body: Body, envelope: Envelope, received_at: datetime, *, waited: bool
) -> dict[str, datetime]:
    """Return when the newest command for each thing was issued, once this one has run.

    A live command that does not say when it was issued was issued about when it came, less what clocks may differ;
    one that waited while the bot was away says nothing.
    """
    issued = dict(desired.issued)
    if envelope.issued_at is not None:
        at = min(envelope.issued_at, received_at + _FARTHEST_AHEAD)
    elif not waited:
        at = received_at - _CLOCK_DIFFERENCE
    else:
        return issued
    mine = things(body)
    if "cryptos/*" in mine:
        # What the whole set replaces, and was not issued after it, is of no account any more.
        issued = {thing: when for thing, when in issued.items() if not thing.startswith("cryptos/") or when > at}
    return issued | {thing: max(at, issued.get(thing, at)) for thing in mine}


def overlap(one: frozenset[str], other: frozenset[str]) -> bool:
    """Tell whether two commands set a thing in common."""
    if one & other:
        return True
    everything = "cryptos/*"
    return any(
        everything in left and any(thing.startswith("cryptos/") for thing in right)
        for left, right in ((one, other), (other, one))
    )


def refuse_by_age(
    body: Body,
    envelope: Envelope,
    desired: Desired,
    policy: WaitingPolicy,
    now: datetime,
    *,
    waited: bool,
    seq: int,
    restored_at: datetime | None = None,
) -> Refusal | None:
    """Refuse a command that comes too late.

    Args:
        body: the command.
        envelope: what its sender said of its age.
        desired: what holds now.
        policy: the rule for commands that waited while the bot was away.
        now: the time of the decision.
        waited: whether it waited in the broker or in the journal while the bot was away.
        seq: its journal entry.
        restored_at: when a backup was restored that cannot tell whether the command has run; None where that is known.
    """
    if isinstance(body, SetMode) and seq < desired.mode_seq:
        return superseded(f"A newer command set the mode to {desired.mode} before this one ran.")
    if body.reduces_risk:
        return None
    risky = raises_risk(body, desired)
    if envelope.expires_at is not None and now > envelope.expires_at and (risky or isinstance(body, Action)):
        message = f"It expired at {rfc3339(envelope.expires_at)}; send it again if it is still wanted."
        return Refusal(Status.EXPIRED, ErrorInfo(code=ErrorCode.EXPIRED, message=message))
    late = _issued_before(body, envelope, desired)
    if late is not None:
        return late
    if restored_at is not None and (risky or not _may_repeat(body)):
        unknown = _may_have_run(envelope, restored_at)
        if unknown is not None:
            return unknown
    return _stale(envelope, policy, now) if risky and waited else None


def _issued_before(body: Body, envelope: Envelope, desired: Desired) -> Refusal | None:
    if envelope.issued_at is None:
        return None
    mine = things(body)
    for thing, newest in desired.issued.items():
        if overlap(mine, frozenset({thing})) and envelope.issued_at < newest:
            return superseded(
                f"It was issued at {rfc3339(envelope.issued_at)}, before a command for the "
                f"same thing that has run (issued at {rfc3339(newest)}). Send it again, and "
                "check the sender's clock if that is wrong."
            )
    return None


def _stale(envelope: Envelope, policy: WaitingPolicy, now: datetime) -> Refusal | None:
    if policy.rule == "run":
        return None
    if policy.rule == "fresh" and envelope.issued_at is not None:
        age_s = (now - envelope.issued_at).total_seconds()
        if age_s <= policy.max_age_s:
            return None
    message = (
        "It was sent while the bot was away and raises risk, which "
        f"BOT_WAITING_ACTIVATION={policy.rule} does not allow; send it again."
    )
    return Refusal(Status.REJECTED, ErrorInfo(code=ErrorCode.STALE_ACTIVATION, message=message))


def _may_repeat(body: Body) -> bool:
    return not isinstance(body, Action) or body.may_repeat


def _may_have_run(envelope: Envelope, restored_at: datetime) -> Refusal | None:
    """Refuse what nothing shows to be newer than the restored books, in which it would be if it had run before them."""
    if envelope.issued_at is not None and envelope.issued_at > restored_at:
        return None
    message = (
        f"It waited when a backup was restored at {rfc3339(restored_at)}, which cannot tell whether it has run; "
        "send it again if it is still wanted."
    )
    return Refusal(Status.REJECTED, ErrorInfo(code=ErrorCode.STALE_ACTIVATION, message=message))


def superseded(message: str) -> Refusal:
    """Return the refusal of a command that a newer one has made pointless."""
    return Refusal(Status.SUPERSEDED, ErrorInfo(code=ErrorCode.SUPERSEDED, message=message))


class Origin(IntEnum):
    """Where a command was while the line was down; where nothing else tells, the one from later in this list loses."""

    SPOOL = 0
    """A file; it may have run already."""
    JOURNAL = 1
    """An earlier life of the bot had taken it from the broker."""
    QUEUE = 2
    """The broker's queue for our session."""
    MAILBOX = 3
    """The broker's retained message."""


_ORDER_UNKNOWN: Final = (
    (Origin.MAILBOX, Origin.QUEUE),
    (Origin.SPOOL, Origin.JOURNAL),
    (Origin.SPOOL, Origin.QUEUE),
    (Origin.SPOOL, Origin.MAILBOX),
)
"""Places of which nothing tells whether a command in the one was sent before a command in the other."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A command that waited, or came another way than those that did, to be ordered against them.

    Attributes:
        risk: what it lets the bot risk, judged before any of them has run.
    """

    seq: int
    body: Body
    envelope: Envelope
    origin: Origin
    risk: int


def candidate(seq: int, body: Body, envelope: Envelope, origin: Origin, desired: Desired | None) -> Candidate:
    """Return a command with the risk that it means.

    Args:
        seq: its journal entry.
        body: the command.
        envelope: what its sender said of its age.
        origin: where it was.
        desired: what holds now; None where it has run already, and what held before is not known any more.
    """
    if isinstance(body, SetMode):
        risk = body.value.risk
    else:
        risk = int(not body.reduces_risk if desired is None else raises_risk(body, desired))
    return Candidate(seq, body, envelope, origin, risk)


def settle(candidates: Sequence[Candidate]) -> dict[int, Refusal]:
    """Decide between commands for the same thing that came different ways while the line was down.

    The broker delivers its queue first and the mailbox after, whichever was sent first, and knows nothing of the spool.
    Where both senders say when they issued their command the newer one wins; where nothing tells, the less risky one,
    and the other is refused. What has run already cannot be refused any more.

    Returns:
        The refusals, by journal entry; what is not in there runs.
    """
    refused: dict[int, Refusal] = {}
    came: dict[Origin, list[Candidate]] = {origin: [] for origin in Origin}
    for each in candidates:
        came[each.origin].append(each)
    for first, second in _ORDER_UNKNOWN:
        for one, other in product(came[first], came[second]):
            if one.body == other.body or not overlap(things(one.body), things(other.body)):
                continue
            loser, known = _loser(one, other)
            if known:
                refused[loser.seq] = superseded("A command for the same thing was issued after this one.")
            else:
                message = (
                    "Another command for the same thing waited too, and which came last is unknown; send it again."
                )
                error = ErrorInfo(code=ErrorCode.AMBIGUOUS_ORDER, message=message)
                refused[loser.seq] = Refusal(Status.REJECTED, error)
    return refused


def with_newest(candidates: Sequence[Candidate], newest: Candidate) -> list[Candidate]:
    """Add a candidate, and leave out those from the same place that it makes meaningless.

    Those that risk less stay, for whether the newest took effect is not known here.
    """
    covered = things(newest.body)
    return [
        each
        for each in candidates
        if each.origin is not newest.origin or each.risk < newest.risk or not things(each.body) <= covered
    ] + [newest]


def _loser(one: Candidate, other: Candidate) -> tuple[Candidate, bool]:
    issued_one, issued_other = one.envelope.issued_at, other.envelope.issued_at
    if issued_one is not None and issued_other is not None and issued_one != issued_other:
        return (one if issued_one < issued_other else other), True
    return max(one, other, key=lambda each: (each.risk, each.origin)), False

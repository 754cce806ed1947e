"""What the bot has been told to be: mode, active set, settings; and how commands change it. Values in, values out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydantic import JsonValue

from allora_mqtt.market.catalog import Catalog
from allora_mqtt.protocol.commands import Mode, SetCrypto, Switch
from allora_mqtt.protocol.errors import BotError, ErrorCode, WarningCode
from allora_mqtt.protocol.messages import Warn
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.settings import DefaultMode
from allora_mqtt.store.entries import Changes, Saved
from allora_mqtt.store.journal import RESTORED, STOOD_DOWN, mode_state


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything desired-state commands decide.

    Attributes:
        mode_seq: journal entry of the command that set the mode: an older one that comes later is superseded.
        active: topic id by symbol.
        issued: for each thing that was set, when the newest command for it was issued, as far as its sender said.
        revision: raised with each change.
    """

    mode: Mode
    since: datetime
    reason: str
    mode_seq: int
    active: Mapping[str, int]
    settings: RuntimeSettings
    issued: Mapping[str, datetime] = field(default_factory=dict)
    revision: int = 0


def at_start(
    saved: Saved,
    default_mode: DefaultMode,
    first_active: Mapping[str, int],
    first_settings: RuntimeSettings,
    now: datetime,
) -> Desired:
    """Return what holds when the bot starts: the mode by `BOT_DEFAULT_MODE`, the rest as it was left.

    After a limit on losses was reached, and on books from a backup, the mode is STANDBY until somebody has sent ACTIVE.

    Args:
        saved: what an earlier run left.
        default_mode: STANDBY, ACTIVE, or LAST for the last commanded mode.
        first_active: the active set of a first start.
        first_settings: the settings of a first start; a stored change goes before them.
        now: the time of the start.
    """
    stored_mode = saved.state.get("mode")
    mode = Mode.STANDBY
    if default_mode is DefaultMode.ACTIVE:
        mode = Mode.ACTIVE
    elif default_mode is DefaultMode.LAST and stored_mode is not None:
        mode = Mode(stored_mode["mode"])
    reason = f"start (BOT_DEFAULT_MODE={default_mode})"
    if mode is Mode.ACTIVE and (saved.state.get(STOOD_DOWN) or saved.state.get("trips")):
        mode, reason = Mode.STANDBY, "start after a limit on losses was reached; send ACTIVE to go on"
    if saved.state.get(RESTORED):
        mode, reason = Mode.STANDBY, f"start on a backup of {saved.state[RESTORED]}; send ACTIVE to go on"
    settings = RuntimeSettings.model_validate({**first_settings.model_dump(), **saved.settings})
    return Desired(
        mode=mode,
        since=now,
        reason=reason,
        mode_seq=0 if stored_mode is None else int(stored_mode["seq"]),
        active=dict(first_active) if saved.active is None else dict(saved.active),
        settings=settings,
        issued={key: datetime.fromisoformat(text) for key, text in saved.state.get("issued", {}).items()},
        revision=int(saved.state.get("revision", 0)) + 1,
    )


def changes(old: Desired, new: Desired) -> Changes:
    """Return what is to be stored of a change."""
    state: dict[str, JsonValue] = {"revision": new.revision}
    if new.issued != old.issued:
        state["issued"] = {key: at.isoformat() for key, at in new.issued.items()}
    if (old.mode, old.since, old.mode_seq) != (new.mode, new.since, new.mode_seq):
        state |= mode_state(new.mode, new.since, new.reason, new.mode_seq)
        if new.mode is Mode.ACTIVE:
            state |= {STOOD_DOWN: False, RESTORED: None}
    settings = {
        key: str(value) for key, value in new.settings.model_dump().items() if value != getattr(old.settings, key)
    }
    return Changes(
        state=state,
        active=None if dict(old.active) == dict(new.active) else new.active,
        settings=settings or None,
    )


def with_mode(desired: Desired, mode: Mode, *, reason: str, seq: int, now: datetime) -> Desired:
    """Return the state with the mode set, unless a newer command has set it.

    The time of the change stays when the mode is the same.
    """
    if seq < desired.mode_seq:
        return desired
    since = desired.since if desired.mode is mode else now
    return replace(desired, mode=mode, since=since, reason=reason, mode_seq=seq)


def with_active(desired: Desired, active: Mapping[str, int]) -> Desired:
    """Return the state with another active set."""
    return replace(desired, active=dict(sorted(active.items())))


def whole_set(catalog: Catalog, wanted: Mapping[str, int | None], present: Mapping[str, int]) -> dict[str, int]:
    """Check a whole active set against the catalog.

    A symbol named without a topic keeps the one it has, or gets the catalog's default.

    Raises:
        Rejected: for the first symbol that cannot be activated; nothing is changed then.
    """
    active: dict[str, int] = {}
    for name, topic_id in wanted.items():
        symbol = catalog.resolve(name)
        active[symbol] = catalog.check(symbol, topic_id or present.get(symbol)).id
    return active


def one_switched(catalog: Catalog, command: SetCrypto, present: Mapping[str, int]) -> dict[str, int]:
    """Switch one symbol on or off.

    Raises:
        Rejected: the symbol cannot be activated, or does not exist.
    """
    symbol = catalog.resolve(command.symbol)
    active = dict(present)
    if command.value is Switch.OFF:
        active.pop(symbol, None)
    else:
        active[symbol] = catalog.check(symbol, command.topic_id or present.get(symbol)).id
    return active


def named_set(catalog: Catalog, names: list[str], present: Mapping[str, int]) -> tuple[dict[str, int], list[Warn]]:
    """Add a named set to the active set; symbols that cannot be traded now are left out with a warning.

    Raises:
        BotError: `NO_TOPIC`, when not one of the set can be activated.
    """
    active, warnings = dict(present), []
    for name in names:
        try:
            active |= whole_set(catalog, {name: None}, present)
        except BotError as error:
            warnings.append(Warn(code=WarningCode.SYMBOL_SKIPPED, message=error.message))
    if len(warnings) == len(names):
        raise BotError(ErrorCode.NO_TOPIC, " ".join(warning.message for warning in warnings))
    return active, warnings

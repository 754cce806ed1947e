"""The simulator's memory on disk, so that positions survive a restart."""

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from allora_mqtt.simulator.exchange_state import ExchangeState
from allora_mqtt.simulator.market import MarketClock, PriceShift

_VERSION = 1


@dataclass
class Snapshot:
    """Everything that outlives the process.

    Attributes:
        clock: Relation of wall time and market time.
        shifts: Price jumps ordered by hand.
        exchange: Accounts, nonces, counters.
        version: Of this layout.
    """

    clock: MarketClock
    shifts: list[PriceShift] = field(default_factory=list)
    exchange: ExchangeState = field(default_factory=ExchangeState)
    version: int = _VERSION


_SNAPSHOT = TypeAdapter(Snapshot)


class StateError(Exception):
    """The state file cannot be used; the message says what to do."""


class StateFile:
    """Reads and writes the snapshot.

    Args:
        path: Where; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def load(self) -> Snapshot | None:
        """The snapshot, or None when there is none yet.

        Raises:
            StateError: The file is there but unreadable.
        """
        if self._path is None or not self._path.exists():
            return None
        try:
            snapshot = _SNAPSHOT.validate_json(self._path.read_bytes())
        except (OSError, ValidationError) as error:
            raise StateError(f"cannot read the state file {self._path}; move it away to start afresh") from error
        if snapshot.version != _VERSION:
            raise StateError(f"the state file {self._path} is of version {snapshot.version}, not {_VERSION}")
        return snapshot

    def save(self, snapshot: Snapshot) -> None:
        """Replace the file in one step; a killed process leaves the old or the new snapshot, never half of one."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        temporary.write_bytes(_SNAPSHOT.dump_json(snapshot))
        temporary.replace(self._path)

"""Whether another bot is on the same base topic: what is heard goes in, what follows from it comes out.

Two bots with client ids of their own hear each other's heartbeats. Two with the same client id never do, for the broker
takes the session from one to give it to the other: each finds, when it is back, that the other has published its `info`
meanwhile. At the first connect an `info` that nobody of ours has published may be left from a bot that is gone; until
that is known nothing is risked.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

_FORGOTTEN: Final = timedelta(seconds=15)
"""Two bots that take the session from each other do so at least this often."""
_BEATS_TO_FORGET: Final = 3


@dataclass(frozen=True, slots=True)
class Stranger:
    """Another bot.

    Attributes:
        started_at: when it says that it was started.
        is_known_to_live: False while only something that it has left is known.
        takes_session: whether it has our client id, so that each command reaches only one of us.
    """

    instance_id: str
    started_at: datetime
    heard_at: datetime
    is_known_to_live: bool
    takes_session: bool = False


class Lookout:
    """Looks out for another bot.

    Args:
        instance_id: of this bot.
        started_at: of this bot.
        former: instance ids of this bot's earlier lives.
        heartbeat_interval_s: how often a bot says that it lives.
    """

    def __init__(
        self, instance_id: str, started_at: datetime, former: Collection[str], heartbeat_interval_s: float
    ) -> None:
        self._instance_id = instance_id
        self._started_at = started_at
        self._own = {instance_id, *former}
        self._patience = timedelta(seconds=_BEATS_TO_FORGET * heartbeat_interval_s)
        self._has_published = False
        self._stranger: Stranger | None = None

    def at(self, now: datetime) -> Stranger | None:
        """Return the other bot, unless nothing has been heard of it for long."""
        stranger = self._stranger
        if stranger is not None:
            patience = self._patience + (_FORGOTTEN if stranger.is_known_to_live else timedelta())
            if not timedelta() <= now - stranger.heard_at <= patience:
                self._stranger = None
        return self._stranger

    def may_trade(self, now: datetime) -> bool:
        """Tell whether entries may be made: not beside an older bot, nor while commands may go to the other one."""
        stranger = self.at(now)
        if stranger is None:
            return True
        is_older = (self._started_at, self._instance_id) < (stranger.started_at, stranger.instance_id)
        return is_older and stranger.is_known_to_live and not stranger.takes_session

    def on_heartbeat(self, instance_id: str, at: datetime, uptime_s: float, now: datetime) -> None:
        """A heartbeat was heard that did not wait in a queue: its sender is connected now, as we are."""
        if instance_id not in self._own:
            self._stranger = Stranger(instance_id, at - timedelta(seconds=uptime_s), now, is_known_to_live=True)

    def on_info(self, instance_id: str, started_at: datetime, now: datetime, *, retained: bool) -> None:
        """An `info` was heard: what is on this base topic, or has been."""
        if instance_id == self._instance_id:
            self._has_published = True
        elif instance_id not in self._own:
            # After ours it can only have been published by somebody who lives; retained, while we were not connected.
            self._hear(
                Stranger(
                    instance_id,
                    started_at,
                    now,
                    is_known_to_live=self._has_published,
                    takes_session=self._has_published and retained,
                )
            )

    def on_taken_over(self, now: datetime) -> None:
        """The broker has said that somebody with our client id has taken the session."""
        stranger = self._stranger or Stranger("with the same client id", now, now, is_known_to_live=True)
        self._stranger = None
        self._hear(Stranger(stranger.instance_id, stranger.started_at, now, is_known_to_live=True, takes_session=True))

    def _hear(self, heard: Stranger) -> None:
        known = self._stranger
        takes_session = heard.takes_session or (known is not None and known.takes_session)
        lives = heard.is_known_to_live or (known is not None and known.is_known_to_live)
        self._stranger = Stranger(heard.instance_id, heard.started_at, heard.heard_at, lives, takes_session)

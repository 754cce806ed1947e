"""From prices and predictions to signals: what strategy, gates and reviewers say, and what is kept of it."""

import logging
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from allora_mqtt.market.predictions import Prediction, age_text, unusable_because
from allora_mqtt.market.quotes import Quote
from allora_mqtt.protocol.messages import Direction, SignalView
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.trading.gates import gate_refusal
from allora_mqtt.trading.review import Panel, Review, question
from allora_mqtt.trading.risk import FOLLOWS_FROM_AN_ENTRY, EntryPlan, Refused
from allora_mqtt.trading.skill import Skill
from allora_mqtt.trading.skill_keeper import SkillKeeper
from allora_mqtt.trading.strategy import Opinion, PriceHistory, Situation, Strategies, judge, round_gap

log = logging.getLogger(__name__)

_DAY_S: Final = 86_400
_NUMBER: Final = re.compile(r"[+-]?\d[\d.]*")
REVIEWING: Final = "the reviewers are being asked"
_UNHEARD: Final = "the bot was restarted while the reviewers were being asked"
_MAX_KINDS: Final = 50
"""Records that one prediction may leave, whatever a strategy finds to say."""

Asking = Callable[[], Coroutine[Any, Any, None]]
"""Asks the reviewers and keeps what they say."""

_Key = tuple[str, int, float]
"""Symbol, topic, and the prediction's time in unix seconds."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the reviewers were asked, and what they said; no answer is no approval."""

    direction: Direction
    review: Review


class Signals:
    """What the bot thinks of each coin.

    Args:
        ledger: where signals are stored.
        strategies: those that can be chosen.
        skill: how far each topic can be trusted.
        panel: the reviewers, or None without any.
        max_age_s: the oldest a prediction may be (`ALLORA_MAX_AGE_S`).
        new_id: returns 32 random hexadecimal digits.
        clock: the time, with its zone.
    """

    def __init__(
        self,
        ledger: Ledger,
        strategies: Strategies,
        skill: SkillKeeper,
        panel: Panel | None,
        max_age_s: float,
        new_id: Callable[[], str],
        clock: Callable[[], datetime],
    ) -> None:
        self.strategies = strategies
        self.skill = skill
        self.newest: dict[str, SignalView] = {}
        """The newest signal of each active symbol."""
        self._ledger = ledger
        self._panel = panel
        self._max_age_s = max_age_s
        self._new_id = new_id
        self._clock = clock
        self._history = PriceHistory()
        self._told: dict[str, tuple[tuple[int, datetime | None], set[str]]] = {}
        self._asked: dict[_Key, _Asked] = {}
        self._refused: dict[str, str] = {}

    async def load(self) -> set[tuple[int, float]]:
        """Take over what an earlier run left.

        Returns:
            Topic and time (unix seconds) of the predictions of the last day that were traded on.
        """
        day_ago = datetime.fromtimestamp(self._clock().timestamp() - _DAY_S, UTC)
        await self.skill.load()
        for key, asked in (await self.skill.reviews(day_ago)).items():
            reason = str(asked["reason"])
            review = Review(asked["approved"] is True, _UNHEARD if reason == REVIEWING else reason)
            self._asked[key] = _Asked(Direction(str(asked["direction"])), review)
        entered = await self._ledger.entered_predictions(day_ago)
        return {(topic_id, at.timestamp()) for topic_id, at in entered}

    async def run(self) -> None:
        """Store predictions and find out what came of them, until cancelled."""
        await self.skill.run()

    def look(self, quotes: Mapping[str, Quote], predictions: Mapping[str, Prediction]) -> None:
        """Remember prices and usable predictions, and hold those that are due against the price."""
        now = self._clock().timestamp()
        self._history.take(quotes, now)
        for symbol, prediction in predictions.items():
            quote = quotes.get(symbol)
            if quote is not None and self.unusable_because(prediction, quote.mark) is None:
                self.skill.take(prediction, quote.mark, now)
        self.skill.resolve(quotes)

    def unusable_because(self, prediction: Prediction, mark: Decimal) -> str | None:
        """Say why a prediction must not be traded on now, or None when it may."""
        return unusable_because(prediction, mark, self._clock().timestamp(), self._max_age_s)

    def situation(self, quote: Quote, prediction: Prediction, settings: RuntimeSettings) -> Situation:
        """Return what a strategy sees of a coin now."""
        return Situation(quote, prediction, self._history.of(quote.symbol), settings, self._clock().timestamp())

    def opinion(self, situation: Situation) -> Opinion:
        """Return what the chosen strategy says; HOLD where the prediction must not be traded on."""
        prediction, now = situation.prediction, situation.now
        unusable = unusable_because(prediction, situation.quote.mark, now, self._max_age_s)
        if unusable is not None:
            return Opinion(Direction.HOLD, situation.gap_pct, (unusable,))
        opinion = judge(situation, self.strategies)
        return replace(opinion, reasons=(*opinion.reasons, age_text(prediction, now, self._max_age_s)))

    def gate_refusal(self, situation: Situation, direction: Direction) -> str | None:
        """Return why a gate keeps an entry out, or None when none does."""
        return gate_refusal(situation, direction, self._skill(situation))

    def reviewed(self, plan: EntryPlan, situation: Situation, opinion: Opinion) -> EntryPlan | Refused | Asking:
        """Let the reviewers have their say about an entry that everything else allows.

        Returns:
            The plan, once they have approved; why not; or, the first time, what asks them, to be awaited aside.
        """
        if self._panel is None:
            return plan
        key = _key(situation)
        asked = self._asked.get(key)
        if asked is None:
            return self._ask(self._panel, key, plan, situation, opinion)
        if not asked.review.is_approved:
            return Refused(asked.review.reason)
        if asked.direction is not opinion.direction:
            return Refused(f"the reviewers approved {asked.direction} and not {opinion.direction}")
        return plan

    def _ask(self, panel: Panel, key: _Key, plan: EntryPlan, situation: Situation, opinion: Opinion) -> Asking:
        """Note that the reviewers are being asked, and return what asks them."""
        symbol, topic_id, at = key
        messages = question(situation, opinion, plan, self._skill(situation))

        def note(review: Review) -> None:
            self._asked[symbol, topic_id, at] = _Asked(opinion.direction, review)
            stored = {"direction": opinion.direction.value, "approved": review.is_approved, "reason": review.reason}
            self.skill.note_review(topic_id, at, stored)

        async def ask() -> None:
            note(await panel.ask(messages))

        self._asked = {kept: asked for kept, asked in self._asked.items() if situation.now - kept[2] < _DAY_S}
        note(Review(is_approved=False, reason=REVIEWING))
        return ask

    def approval(self, situation: Situation) -> tuple[str, ...]:
        """Return what the reviewers said of an entry, for its record; nothing without reviewers."""
        asked = None if self._panel is None else self._asked.get(_key(situation))
        return () if asked is None else (asked.review.reason,)

    def view(self, situation: Situation, opinion: Opinion, plan: EntryPlan | Refused | None) -> SignalView:
        """Return the signal as it is published and stored, and keep it as the newest of its symbol."""
        more: tuple[str, ...] = ()
        if isinstance(plan, Refused):
            more = (plan.reason,)
        elif plan is not None:
            more = self.approval(situation)
        quote, prediction = situation.quote, situation.prediction
        signal = SignalView(
            signal_id=self._new_id(),
            symbol=quote.symbol,
            direction=opinion.direction,
            gap_pct=round_gap(opinion.gap_pct),
            prediction=prediction.price,
            mark_price=quote.mark,
            topic_id=prediction.topic_id,
            prediction_at=datetime.fromtimestamp(prediction.at, UTC),
            acted=isinstance(plan, EntryPlan),
            reasons=[*opinion.reasons, *more],
            at=datetime.fromtimestamp(situation.now, UTC),
        )
        self.newest[quote.symbol] = signal
        return signal

    def is_news(self, signal: SignalView) -> bool:
        """Tell whether a signal says what was not said of its prediction yet, and take note of it.

        Numbers do not count: a gap that moves with every price is the same thing said again. So each prediction leaves
        one record for each direction and each kind of reason, however often they alternate.
        """
        prediction = (signal.topic_id, signal.prediction_at)
        about, said = self._told.get(signal.symbol, (None, set()))
        if about != prediction:
            said = set()
        self._told[signal.symbol] = (prediction, said)
        kind = "\n".join([signal.direction, *(_NUMBER.sub("#", reason) for reason in signal.reasons)])
        if kind in said or len(said) >= _MAX_KINDS:
            return False
        said.add(kind)
        return True

    def log_decision(self, signal: SignalView, refused: Refused | None) -> None:
        """Write one line for what a signal led to.

        A refusal for the same kind of reason as the coin's last one or because of its own entry, and a HOLD, are of the
        lowest level: with many coins there would be no end of them.

        Args:
            signal: the signal.
            refused: why no entry follows, where the strategy wants one.
        """
        ids = {"signal": signal.signal_id}
        if signal.acted:
            self._refused.pop(signal.symbol, None)
            log.info("%s %s: an entry is made (%s)", signal.symbol, signal.direction, signal.reasons[0], extra=ids)
            return
        level = logging.DEBUG
        if refused is not None and refused.reason not in FOLLOWS_FROM_AN_ENTRY:
            kind = _NUMBER.sub("#", refused.reason)
            level = logging.DEBUG if self._refused.get(signal.symbol) == kind else logging.INFO
            self._refused[signal.symbol] = kind
        why = signal.reasons[0] if refused is None else refused.reason
        log.log(level, "%s %s: no entry (%s)", signal.symbol, signal.direction, why, extra=ids)

    async def store(self, signal: SignalView) -> None:
        """Store a signal.

        Raises:
            BotError: `STORE_UNAVAILABLE`.
        """
        await self._ledger.add_signal(signal.model_dump())

    def forget(self, symbol: str) -> None:
        """Drop what was said of a symbol that is not active any more."""
        self.newest.pop(symbol, None)
        self._told.pop(symbol, None)
        self._refused.pop(symbol, None)

    def _skill(self, situation: Situation) -> Skill:
        return self.skill.skill(situation.prediction.topic_id, situation.settings.skill_window)


def _key(situation: Situation) -> _Key:
    prediction = situation.prediction
    return situation.quote.symbol, prediction.topic_id, prediction.at

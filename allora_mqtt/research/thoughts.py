"""What the bot would have thought of a coin: the live strategies and gates, with what was known at that moment."""

from allora_mqtt.market.predictions import Prediction, unusable_because
from allora_mqtt.market.quotes import Quote
from allora_mqtt.protocol.messages import Direction
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.trading.gates import gate_refusal
from allora_mqtt.trading.skill import Awaited, Skill, is_right
from allora_mqtt.trading.strategy import Opinion, PriceHistory, Situation, Strategies, judge


class Thoughts:
    """Judges coins as `trading.signals` does, without a store and without reviewers.

    Args:
        settings: the runtime settings.
        strategies: those that can be chosen.
        max_age_s: the oldest a prediction may be (`ALLORA_MAX_AGE_S`).
    """

    def __init__(self, settings: RuntimeSettings, strategies: Strategies, max_age_s: float) -> None:
        self._settings = settings
        self._strategies = strategies
        self._max_age_s = max_age_s
        self._histories: dict[str, PriceHistory] = {}
        self._awaited: dict[str, list[Awaited]] = {}
        self._newest: dict[int, float] = {}
        self._outcomes: dict[int, list[bool]] = {}

    def see(self, quote: Quote) -> None:
        """Remember a price, and hold the predictions that are due against it.

        Live a price counts as that of the due moment for a minute; here the first one after it does, however late the
        data brings it.
        """
        self._history(quote.symbol).take({quote.symbol: quote}, quote.at)
        waiting = self._awaited.get(quote.symbol, [])
        for awaited in [each for each in waiting if each.due <= quote.at]:
            waiting.remove(awaited)
            right = is_right(awaited, quote.mark)
            if right is not None:
                self._outcomes.setdefault(awaited.topic_id, []).append(right)

    def unusable_because(self, prediction: Prediction, quote: Quote) -> str | None:
        """Say why a prediction must not be traded on at that moment, or None when it may."""
        return unusable_because(prediction, quote.mark, quote.at, self._max_age_s)

    def situation(self, quote: Quote, prediction: Prediction) -> Situation:
        """Return what a strategy sees, and keep the usable prediction to be judged when it is due."""
        if self._newest.get(prediction.topic_id, float("-inf")) < prediction.at:
            self._newest[prediction.topic_id] = prediction.at
            due = prediction.at + prediction.horizon_s
            awaited = Awaited(prediction.topic_id, prediction.symbol, prediction.at, prediction.price, quote.mark, due)
            self._awaited.setdefault(prediction.symbol, []).append(awaited)
        return Situation(quote, prediction, self._history(quote.symbol).of(quote.symbol), self._settings, quote.at)

    def opinion(self, situation: Situation) -> Opinion:
        """Ask the strategy."""
        return judge(situation, self._strategies)

    def gate_refusal(self, situation: Situation, direction: Direction) -> str | None:
        """Return why a gate keeps an entry out, or None when none does."""
        newest = self._outcomes.get(situation.prediction.topic_id, [])[-self._settings.skill_window :]
        return gate_refusal(situation, direction, Skill(len(newest), sum(newest)))

    def _history(self, symbol: str) -> PriceHistory:
        """Return a history of one coin: in one of them all, two coins of the same moment would be one sample."""
        return self._histories.setdefault(symbol, PriceHistory())

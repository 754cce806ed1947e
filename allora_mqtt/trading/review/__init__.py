"""A second opinion before an entry: language models behind an OpenAI-compatible endpoint, which can only say no."""

from allora_mqtt.trading.review.answer import Answer, Thresholds, Unusable, read_answer, read_content
from allora_mqtt.trading.review.panel import Panel, Review, Reviewer
from allora_mqtt.trading.review.question import question

__all__ = [
    "Answer",
    "Panel",
    "Review",
    "Reviewer",
    "Thresholds",
    "Unusable",
    "question",
    "read_answer",
    "read_content",
]

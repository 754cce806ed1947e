"""What may be thrown at the bot and what must hold then: for Hypothesis, for atheris, and for what once failed."""

from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus"
"""By target: an example of each form, and every input that once was a fault."""

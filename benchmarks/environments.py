"""The environments of the peers, made once and kept in the user's cache: nothing of theirs comes into the project's."""

import subprocess
import sys
from pathlib import Path
from typing import Final

PEERS: Final = Path(__file__).parent / "peers"
_CACHE: Final = Path.home() / ".cache" / "allora-mqtt" / "bench-peers"


def python_of(name: str) -> Path:
    """Return the Python of an environment, and make it first where it is not there.

    Args:
        name: of the file in `peers/` that lists what belongs into it, without `.txt`.

    Raises:
        RuntimeError: it could not be made; the message says what pip said.
    """
    wanted = PEERS / f"{name}.txt"
    place = _CACHE / name
    python, made_of = place / "bin" / "python", place / "made_of.txt"
    if made_of.exists() and made_of.read_text() == wanted.read_text():
        return python
    _run(sys.executable, "-m", "venv", "--clear", str(place))
    _run(str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(wanted))
    made_of.write_text(wanted.read_text())
    return python


def peer(environment: str, script: str, *words: str) -> tuple[str, ...]:
    """Return how to run a peer's program in its environment."""
    return (str(python_of(environment)), str(PEERS / script), *words)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"An environment for the peers could not be made: {done.stderr.strip()[-2000:]}")

"""Coverage-guided fuzzing: `python -m tests.fuzz <target> [-runs=100000] [other flags of libFuzzer]`.

Targets: `answers` (of the exchange and Allora), `commands` (anything on any topic). It starts from the kept corpus. An
input that breaks a promise ends the run and is written to `crash-…` in the current folder: mend the fault, give the
file a name that says what it is, and move it to `tests/fuzz/corpus/<target>/`, where the ordinary tests replay it.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import atheris

with atheris.instrument_imports(include=["allora_mqtt"]):
    from tests.fuzz import CORPUS, report
    from tests.fuzz.answers import Answers
    from tests.fuzz.commands import Commands


class Target(Protocol):
    def must_hold(self, data: bytes) -> Awaitable[object]:
        """Take an input; fail on what must not be."""

    async def close(self) -> None: ...


TARGETS: Final[dict[str, Callable[[], Target]]] = {"answers": Answers, "commands": Commands}


class Run:
    """One run of libFuzzer, which never returns: it counts, and writes the counts down from time to time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._target: Target = TARGETS[name]()
        self._loop = asyncio.new_event_loop()
        self._written = time.monotonic()
        self._rss_mb = report.rss_mb()
        self.counts = report.Counts()

    def once(self, data: bytes) -> None:
        self.counts.inputs += 1
        try:
            self._loop.run_until_complete(self._target.must_hold(data))
        except BaseException:
            self.counts.crashes += 1
            self.write()
            raise
        if time.monotonic() - self._written > 1:
            self.write()

    def write(self) -> None:
        self._written = time.monotonic()
        self.counts.rss_growth_mb = report.rss_mb() - self._rss_mb
        self.counts.write(f"g10-{self._name}.json")


def main(words: list[str]) -> int:
    if len(words) < 2 or words[1] not in TARGETS:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    name, flags = words[1], words[2:]
    run = Run(name)
    with tempfile.TemporaryDirectory(prefix="fuzz-corpus-") as found:
        os.environ.setdefault("PYTHONHASHSEED", "0")
        libfuzzer = [words[0], "-max_len=4096", "-timeout=60", *flags, found, str(CORPUS / name)]
        atheris.Setup(libfuzzer, run.once)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

"""What a process takes up, as the kernel counts it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Footprint:
    """At one moment: memory that is really there, open file handles, threads."""

    memory_kib: int
    handles: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> "Footprint":
        """Look at a process of this machine (Linux)."""
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines if ":" in line)
        handles = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return cls(int(status["VmRSS"].split()[0]), handles, int(status["Threads"]))

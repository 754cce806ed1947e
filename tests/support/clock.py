"""The wall clock of one process, set forward and back while it runs; monotonic clocks and waits stay as they are.

libfaketime would do it too, but breaks `time.sleep` of Python 3.11 and later.
"""

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

COMPILER: Final = shutil.which("cc")
_SOURCE: Final = Path(__file__).with_name("clock.c")


class ShiftedClock:
    """A clock that shows the right time until it is shifted.

    Args:
        folder: for the library and the file that the process looks at.
    """

    def __init__(self, folder: Path) -> None:
        self.library = str(folder / "clock.so")
        """What a process that lives by this clock names in `LD_PRELOAD`."""
        self.file = str(folder / "clock-shift")
        """What it names in `SHIFTED_CLOCK`."""
        assert COMPILER is not None
        subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", self.library, _SOURCE], check=True)
        self.shift(0)

    def shift(self, seconds: int) -> None:
        """Let the clock be off by so much from now on."""
        content = struct.pack("@q", seconds)
        file = Path(self.file)
        # Written in place: the process has mapped it.
        with file.open("r+b" if file.exists() else "wb") as opened:
            opened.write(content)

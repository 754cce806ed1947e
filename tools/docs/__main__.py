"""`python -m tools.docs`: write what is stale; `--check` only says what is; `--site FOLDER` looks at the built site."""

import sys
from pathlib import Path

from tools.docs.pages import stale, write
from tools.docs.site import foreign


def main(arguments: list[str]) -> int:
    """Do one of the three; 1 when a check finds something."""
    match arguments:
        case []:
            return _say([f"docs/{name} written" for name in write()], 0)
        case ["--check"]:
            return _say([f"docs/{name} is stale: make pages" for name in stale()], 1)
        case ["--site", folder]:
            return _say(list(foreign(Path(folder))), 1)
    sys.stderr.write("usage: python -m tools.docs [--check | --site FOLDER]\n")
    return 2


def _say(lines: list[str], code: int) -> int:
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return code if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

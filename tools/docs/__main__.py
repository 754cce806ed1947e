"""`python -m tools.docs`: write what is stale; with --check only say what is."""

import sys

from tools.docs.pages import stale, write


def main(arguments: list[str]) -> int:
    """Write the pages, or check them; 1 when a check finds one that is stale."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m tools.docs [--check]\n")
        return 2
    is_check = bool(arguments)
    names = stale() if is_check else write()
    for name in names:
        sys.stdout.write(f"docs/{name} {'is stale: make pages' if is_check else 'written'}\n")
    return 1 if names and is_check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

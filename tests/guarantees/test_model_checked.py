"""G1 to G3 on a model of the delivery rules: every interleaving within its bounds, and each rule shown to be needed."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).resolve().parents[2] / "docs" / "model" / "check"
MISSING = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]


@pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} not installed: apt-get install spin gcc libc6-dev")
@pytest.mark.timeout(300)  # a quarter of a minute of work, on a machine that may be busy with all the other tests
def test_no_interleaving_loses_doubles_or_turns_back_a_command_and_each_rule_is_needed_for_that() -> None:
    done = subprocess.run([CHECK, "--quick"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

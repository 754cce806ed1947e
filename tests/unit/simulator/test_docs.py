"""What docs/simulator.md tells a reader to type works, and what it lists is all there is."""

import argparse
import re
import shlex
from pathlib import Path
from typing import get_args

from allora_mqtt.simulator.faults import FaultKind, FaultRule
from tests.unit.simulator.served import Served

PAGE = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")
FAULT_LINE = re.compile(r"^\| (`.*?`) \| .* \| `(\[\{.*\}\])` \|$", re.MULTILINE)


def curl_lines() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("curl")]


async def curl(sim: Served, line: str) -> tuple[int, str]:
    parser = argparse.ArgumentParser()
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-X", default=None)
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-d", default=None)
    parser.add_argument("url")
    words = parser.parse_args(shlex.split(line, comments=True)[1:])
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if words.d else {}
    headers |= dict(header.split(": ", 1) for header in words.H)
    url = words.url.replace("127.0.0.1:8700", sim.simulator.url.removeprefix("http://"))
    method = words.X or ("POST" if words.d else "GET")
    async with sim.session.request(method, f"http://{url}", data=words.d, headers=headers) as response:
        return response.status, await response.text()


async def test_every_line_for_a_shell_works(sim: Served) -> None:
    lines = curl_lines()
    assert len(lines) >= 12
    for line in lines:
        status, text = await curl(sim, line)
        assert status == 200, (line, text)


async def test_every_fault_has_a_line_and_every_line_is_a_fault(sim: Served) -> None:
    described: set[str] = set()
    for names, line in FAULT_LINE.findall(PAGE):
        described |= set(re.findall(r"`(\w+)`", names))
        status, text = await curl(sim, f"curl -s -X PUT 127.0.0.1:8700/sim/faults -d {shlex.quote(line)}")
        assert status == 200, (line, text)
    assert described == set(get_args(FaultKind))


def test_every_field_of_a_fault_is_described() -> None:
    listed = set(re.findall(r"`(\w+)`", PAGE[PAGE.index("| field |") : PAGE.index("| `kind` | what happens | a line")]))
    assert set(FaultRule.model_fields) <= listed

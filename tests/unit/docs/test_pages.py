"""The pages that are written from the code say what the code says."""

import re

import pytest

from allora_mqtt.protocol.commands import ACTIONS
from allora_mqtt.protocol.errors import ErrorCode, WarningCode
from allora_mqtt.protocol.topics import Event
from allora_mqtt.settings import Settings
from tests.conftest import ROOT
from tools.docs import cli, contract
from tools.docs.markdown import table
from tools.docs.members import meanings
from tools.docs.messages import page as messages_page
from tools.docs.pages import filled, pages, stale
from tools.docs.settings import page as settings_page

DOCS = ROOT / "docs"


def test_none_is_stale() -> None:
    assert stale() == [], "write them anew: make pages"


def test_every_setting_is_there_with_what_it_is() -> None:
    text = settings_page()
    for group, field in Settings.model_fields.items():
        for key in getattr(field.annotation, "model_fields", {}):
            name = f"{group}_{key}".upper()
            rows = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
            assert len(rows) == 1, name
            assert rows[0].rsplit("|", 2)[1].strip(), f"{name}: say in its docstring what it is"


def test_every_command_of_the_command_line_is_there_with_what_it_does() -> None:
    text = cli.page()
    assert re.findall(r"^### allora-mqtt cryptos (\w+)$", text, re.MULTILINE)
    for command in ("mode", "doctor", "config set", "discovery clear", "schema"):
        assert f"\n### allora-mqtt {command}\n" in text
    assert "None" not in text
    assert "<" not in re.sub(r"`[^`]*`|</?code>|<!--.*?-->", "", text)


def test_every_action_code_and_message_is_there() -> None:
    blocks = contract.blocks()
    assert all(f"| `{name}` |" in blocks["actions"] for name in ACTIONS)
    assert all(f"[`{code}`]" in blocks["errors"] for code in ErrorCode)
    assert all(f"[`{code}`]" in blocks["warnings"] for code in WarningCode)
    text = messages_page()
    anchors = {heading.lower().replace("/", "") for heading in re.findall(r"^###+ (\S+)", text, re.MULTILINE)}
    linked = set(re.findall(r"messages\.md#([\w-]+)", blocks["state"] + blocks["passing"]))
    assert linked <= anchors


def test_a_bar_in_code_is_no_new_cell() -> None:
    assert table(("a", "b"), [("`x|<y>`", "c|d")]).splitlines()[2] == "| <code>x&#124;&lt;y&gt;</code> | c&#124;d |"


def test_a_member_without_a_meaning_is_named() -> None:
    assert meanings(ErrorCode)["NO_POSITION"] == "There is nothing to close."
    with pytest.raises(LookupError, match="Event: say below MODE_CHANGED"):
        meanings(Event)


def test_a_page_without_the_place_for_a_part_is_an_error() -> None:
    part = "<!-- a: written by make pages -->\nold<!-- end of a -->"
    assert filled(f"1\n{part}\n2", {"a": "new\n"}) == "1\n<!-- a: written by make pages -->\nnew\n<!-- end of a -->\n2"
    for page in ("", part + part, part.replace("end of a", "end")):
        with pytest.raises(ValueError, match="one place for a"):
            filled(page, {"a": "new\n"})


@pytest.mark.parametrize("code", sorted({*map(str, ErrorCode), *map(str, WarningCode)}))
def test_troubleshooting_has_cause_and_remedy_of_each_code(code: str) -> None:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    found = re.search(rf"^### {code}\n\n(.+?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/troubleshooting.md has no heading ### {code}"
    assert re.search(r"\*\*Do:\*\* .{10}", found[1], re.DOTALL), f"{code}: what is to be done about it? **Do:** …"


def test_each_page_says_where_it_comes_from() -> None:
    for name, text in pages().items():
        assert "make pages" in text or name == "asyncapi.json"

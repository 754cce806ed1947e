import contextlib
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allora_mqtt.trading.review import Answer, Thresholds, Unusable, read_answer, read_content

YES: dict[str, Any] = {"approval": True, "confidence": 80, "risk": 3, "reasoning": "looks fine"}


def completion(content: object, **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": content, **message}, "finish_reason": "stop"}]}


def refusal(body: object) -> str:
    with pytest.raises(Unusable) as caught:
        read_answer(body if isinstance(body, bytes) else json.dumps(body).encode())
    return str(caught.value)


def content_refusal(content: str) -> str:
    with pytest.raises(Unusable) as caught:
        read_content(content)
    return str(caught.value)


def test_an_answer_is_read() -> None:
    expected = Answer(approval=True, confidence=Decimal(80), risk=Decimal(3), reasoning="looks fine")
    assert read_answer(json.dumps(completion(json.dumps(YES))).encode()) == expected
    assert read_content(f"\n```json\n{json.dumps(YES)}\n```\n") == expected
    assert read_content(f"```\n{json.dumps(YES)}```") == expected
    assert read_content(json.dumps(YES | {"extra": [1]})) == expected


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        ([], "not a JSON object"),
        ({}, "no message"),
        ({"choices": []}, "no message"),
        ({"choices": [None]}, "no message"),
        ({"choices": [{"message": "yes"}]}, "no message"),
        ({"error": {"message": "quota"}}, "no message"),
        (completion(None), "no text"),
        (completion([{"type": "text", "text": "yes"}]), "no text"),
        (completion(json.dumps(YES), refusal="I cannot help with\nthat"), "refused to answer: I cannot help with that"),
    ],
)
def test_what_is_no_complete_message_is_unusable(body: object, why: str) -> None:
    assert why in refusal(body)


@pytest.mark.parametrize("ending", ["length", "content_filter", "tool_calls", "", 5, ["stop"]])
def test_an_answer_that_was_cut_is_unusable(ending: object) -> None:
    body = completion(json.dumps(YES))
    body["choices"][0]["finish_reason"] = ending
    assert "did not answer to the end" in refusal(body)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "yes",
        "true",
        f"I approve: {json.dumps(YES)}",
        f"{json.dumps(YES)} but be careful, do not really do it",
        f"No!\n```json\n{json.dumps(YES)}\n```",
        f"```json\n{json.dumps(YES)}\n```\n```json\n{json.dumps(YES | {'approval': False})}\n```",
        json.dumps([YES]),
        json.dumps(YES)[:-1],
        '{"approval": true, "approval": false, "confidence": 80, "risk": 3, "reasoning": ""}',
        '{"approval": false, "confidence": 80, "risk": 3, "reasoning": "", "approval": true}',
        '{"approval": true, "confidence": NaN, "risk": 3, "reasoning": ""}',
    ],
)
def test_anything_but_one_json_object_is_unusable(content: str) -> None:
    assert "not" in content_refusal(content)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"approval": "true"}, "approval"),
        ({"approval": 1}, "approval"),
        ({"approval": None}, "approval"),
        ({"confidence": "80"}, "confidence is a text"),
        ({"confidence": True}, "confidence is not a number"),
        ({"confidence": None}, "confidence is not a number"),
        ({"confidence": 101}, "confidence is not between 0 and 100"),
        ({"confidence": -1}, "confidence is not between 0 and 100"),
        ({"confidence": 1e300}, "confidence is not a number"),
        ({"risk": 11}, "risk is not between 0 and 10"),
        ({"risk": [3]}, "risk is not a number"),
        ({"reasoning": None}, "reasoning"),
        ({"reasoning": {"a": 1}}, "reasoning"),
    ],
)
def test_a_field_of_another_type_or_size_is_unusable(changes: dict[str, Any], why: str) -> None:
    assert why in content_refusal(json.dumps(YES | changes))


@pytest.mark.parametrize("key", YES)
def test_a_missing_field_is_unusable(key: str) -> None:
    assert key in content_refusal(json.dumps({name: value for name, value in YES.items() if name != key}))


def test_the_reasoning_is_one_printable_line_and_cut() -> None:
    nasty = "a\x00b\x1b[31m\nc\u202e" + "x" * 10_000
    reasoning = read_content(json.dumps(YES | {"reasoning": nasty})).reasoning
    assert reasoning.isprintable()
    assert reasoning.startswith("a b [31m c ")
    assert len(reasoning) <= 200


@given(st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: (
    st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["choices", "message", "content", "finish_reason", "refusal"]), inner)
)).map(lambda found: json.dumps(found).encode()))  # fmt: skip
def test_any_bytes_are_an_answer_or_unusable(body: bytes) -> None:
    with contextlib.suppress(Unusable):
        assert read_answer(body).reasoning.isprintable()


@pytest.mark.parametrize(
    ("changes", "objection"),
    [
        ({}, None),
        ({"approval": False}, "says no"),
        ({"approval": False, "confidence": 100, "risk": 0}, "says no"),
        ({"confidence": 70, "risk": 4}, None),
        ({"confidence": 69.9}, "is only 69.9 % sure, and 70 % are wanted"),
        ({"risk": 4.1}, "sees a risk of 4.1, and 4 is the limit"),
    ],
)
def test_thresholds_only_ever_take_an_approval_away(changes: dict[str, Any], objection: str | None) -> None:
    answer = read_content(json.dumps(YES | changes))
    assert Thresholds(Decimal(70), Decimal(4)).objection(answer) == objection

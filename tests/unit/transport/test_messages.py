"""Which topics a filter means: paho answers the same question."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from allora_mqtt.transport.embedded_broker.messages import is_filter, is_topic, matches

LEVEL = st.sampled_from(["a", "b", "", "$a"])
TOPICS = st.lists(LEVEL, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = (
    st.tuples(st.lists(LEVEL | st.just("+"), max_size=4), st.sampled_from([[], ["#"]]))
    .map(lambda parts: "/".join(parts[0] + parts[1]))
    .filter(bool)
)


@given(TOPICS, FILTERS)
def test_it_matches_as_paho_does(topic: str, topic_filter: str) -> None:
    assert is_topic(topic)
    assert is_filter(topic_filter)
    assert matches(topic, topic_filter) is topic_matches_sub(topic_filter, topic)


@pytest.mark.parametrize("text", ["", "#/a", "a#", "a/#/b", "++", "a+", "a/+b", "##", "a\0"])
def test_what_is_no_filter(text: str) -> None:
    assert not is_filter(text)


@given(st.text(string.ascii_letters + "/+#\0$ ", max_size=10))
def test_a_topic_is_a_filter_without_wildcards(text: str) -> None:
    assert is_topic(text) is (is_filter(text) and not set(text) & set("+#"))

from allora_mqtt.protocol.errors import BotError, ErrorCode, Failed, Rejected, WarningCode

PROMISED = """
    BAD_JSON BAD_VALUE TOO_LARGE UNKNOWN_SYMBOL NOT_TRADABLE NO_TOPIC TOPIC_MISMATCH UNKNOWN_KEY OUT_OF_RANGE
    RETAINED_ACTION STALE_ACTIVATION AMBIGUOUS_ORDER EXPIRED DUPLICATE_INSTANCE BREAKER_OPEN UNSUPPORTED_ACTION
    EXCHANGE_REJECTED EXCHANGE_UNREACHABLE NOT_ALLOWED INTERNAL USE_SET_TOPIC
"""


def test_every_code_of_the_contract_exists_and_reads_as_itself() -> None:
    assert set(PROMISED.split()) <= {code.value for code in ErrorCode}
    assert all(code.name == code.value for code in (*ErrorCode, *WarningCode))
    assert WarningCode("NO_CRYPTOS") in WarningCode


def test_an_error_carries_its_code_and_one_sentence() -> None:
    for kind in (BotError, Rejected, Failed):
        error = kind(ErrorCode.NO_TOPIC, "Nothing predicts XYZ.")
        assert (error.code, error.message) == (ErrorCode.NO_TOPIC, "Nothing predicts XYZ.")
        assert str(error) == "NO_TOPIC: Nothing predicts XYZ."
    assert issubclass(Rejected, BotError)
    assert issubclass(Failed, BotError)
    assert not issubclass(Failed, Rejected)

import socket

import pytest

from allora_mqtt.simulator.__main__ import main


def test_a_taken_port_is_one_sentence_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--bind", f"127.0.0.1:{port}"]) == 2
    assert capsys.readouterr().err.endswith(f"simulator: cannot listen on 127.0.0.1:{port}: the port is taken\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--bind", "nowhere"], "--bind must be HOST:PORT"),
        (["--prices", "guessed"], 'prices must be "random" or "replay:FILE"'),
        (["--prices", "replay:/nonexistent.csv"], "cannot read the price file"),
    ],
)
def test_wrong_options_are_explained(capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--speed", "0"], ["--skill", "1.1"], ["--epoch-s", "-1"]])
def test_numbers_out_of_range_are_usage_errors(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)

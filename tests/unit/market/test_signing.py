import pytest
from eth_account.signers.local import LocalAccount
from hyperliquid.utils.signing import recover_agent_or_user_from_l1_action

from allora_mqtt.market.signing import Envelope, Signer

ACTION = {"type": "cancel", "cancels": [{"a": 1, "o": 7}, {"a": 1, "o": 8}]}
VAULT = "0x" + "cd" * 20


@pytest.mark.parametrize("vault", [None, VAULT])
@pytest.mark.parametrize("expires", [None, 1_700_000_005_000])
@pytest.mark.parametrize("is_mainnet", [True, False])
def test_the_signer_can_be_recovered_from_the_envelope(
    wallet: LocalAccount, vault: str | None, expires: int | None, *, is_mainnet: bool
) -> None:
    envelope = Signer(wallet, vault, is_mainnet).sign(ACTION, 1_700_000_000_000, expires)

    def recovered(nonce: int, *, mainnet: bool) -> str:
        address: str = recover_agent_or_user_from_l1_action(
            envelope.action, envelope.signature, envelope.vault_address, nonce, envelope.expires_after_ms, mainnet
        )
        return address

    assert recovered(envelope.nonce, mainnet=is_mainnet) == wallet.address
    assert recovered(envelope.nonce + 1, mainnet=is_mainnet) != wallet.address
    assert recovered(envelope.nonce, mainnet=not is_mainnet) != wallet.address


def test_a_stored_envelope_is_the_same_to_the_byte(wallet: LocalAccount) -> None:
    envelope = Signer(wallet, VAULT, is_mainnet=False).sign(ACTION, 5, 9)
    text = envelope.to_json()
    assert Envelope.from_json(text) == envelope
    assert Envelope.from_json(text).to_json() == text
    assert envelope.action_count == 2


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"action":{},"nonce":"1"}', "null"])
def test_other_texts_are_no_envelope(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the JSON decoder's texts are its own
        Envelope.from_json(text)


def test_the_key_is_never_shown(wallet: LocalAccount) -> None:
    signer = Signer(wallet, None, is_mainnet=False)
    assert "wallet" not in repr(signer)
    assert wallet.key.hex() not in repr(signer)

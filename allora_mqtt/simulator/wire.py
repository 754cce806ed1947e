"""The actions of `POST /exchange` as they arrive, checked by schema and put into canonical form for the signature."""

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from allora_mqtt.simulator.account import OrderRequest, Tif, TpSl, Trigger


def _without_trailing_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


Number = Annotated[
    str, StringConstraints(pattern=r"^-?\d{1,20}(\.\d{1,20})?$"), AfterValidator(_without_trailing_zeros)
]
Address = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-fA-F]{40}$", to_lower=True)]
Cloid = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-fA-F]{32}$", to_lower=True)]
Uint64 = Annotated[int, Field(ge=0, lt=2**64)]
_HEX_256 = re.compile(r"0x[0-9a-fA-F]{1,64}")


class WireModel(BaseModel):
    """Nothing but the declared fields; their order is the order in which they are hashed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class LimitWire(WireModel):
    """Time in force of a limit order."""

    tif: Tif


class TriggerWire(WireModel):
    """Condition of a stop or take-profit."""

    isMarket: bool  # noqa: N815 -- the wire's name; an alias would have to be undone for the hash
    triggerPx: Number  # noqa: N815 -- same
    tpsl: TpSl


class LimitType(WireModel):
    """The `t` of a limit order."""

    limit: LimitWire


class TriggerType(WireModel):
    """The `t` of a trigger order."""

    trigger: TriggerWire


class OrderWire(WireModel):
    """One order: asset, is buy, price, size, reduce-only, type, client order id."""

    a: Uint64
    b: bool
    p: Number
    s: Number
    r: bool
    t: LimitType | TriggerType
    c: Cloid | None = None

    def to_request(self) -> OrderRequest:
        """The order in the exchange's own terms."""
        limit = self.t.limit if isinstance(self.t, LimitType) else None
        trigger = self.t.trigger if isinstance(self.t, TriggerType) else None
        return OrderRequest(
            asset=self.a,
            is_buy=self.b,
            px=Decimal(self.p),
            size=Decimal(self.s),
            reduce_only=self.r,
            tif=limit.tif if limit else "Gtc",
            trigger=Trigger(Decimal(trigger.triggerPx), trigger.isMarket, trigger.tpsl) if trigger else None,
            cloid=self.c,
        )


class BuilderWire(WireModel):
    """A builder's address and fee; accepted and ignored."""

    b: Address
    f: Uint64


class OrderAction(WireModel):
    """Place orders."""

    type: Literal["order"]
    orders: Annotated[list[OrderWire], Field(min_length=1)]
    grouping: Literal["na", "normalTpsl", "positionTpsl"]
    builder: BuilderWire | None = None


class CancelWire(WireModel):
    """An asset and an order number."""

    a: Uint64
    o: Uint64


class CancelAction(WireModel):
    """Cancel by order number."""

    type: Literal["cancel"]
    cancels: Annotated[list[CancelWire], Field(min_length=1)]


class CancelByCloidWire(WireModel):
    """An asset and a client order id."""

    asset: Uint64
    cloid: Cloid


class CancelByCloidAction(WireModel):
    """Cancel by client order id."""

    type: Literal["cancelByCloid"]
    cancels: Annotated[list[CancelByCloidWire], Field(min_length=1)]


class ModifyAction(WireModel):
    """Replace one order."""

    type: Literal["modify"]
    oid: Uint64 | Cloid
    order: OrderWire


class ModifyWire(WireModel):
    """The order to replace and its replacement."""

    oid: Uint64 | Cloid
    order: OrderWire


class BatchModifyAction(WireModel):
    """Replace several orders."""

    type: Literal["batchModify"]
    modifies: Annotated[list[ModifyWire], Field(min_length=1)]


class UpdateLeverageAction(WireModel):
    """Set an asset's leverage."""

    type: Literal["updateLeverage"]
    asset: Uint64
    isCross: bool  # noqa: N815 -- the wire's name
    leverage: Uint64


class UpdateIsolatedMarginAction(WireModel):
    """Move money into (or, below 0, out of) an isolated position; `ntli` is in millionths of a USD."""

    type: Literal["updateIsolatedMargin"]
    asset: Uint64
    isBuy: bool  # noqa: N815 -- the wire's name
    ntli: int


class ScheduleCancelAction(WireModel):
    """Cancel everything at a time."""

    type: Literal["scheduleCancel"]
    time: Uint64 | None = None


class NoopAction(WireModel):
    """Use up a nonce and do nothing."""

    type: Literal["noop"]


class ApproveAgentAction(WireModel):
    """Let an agent wallet act for the signer; signed as typed data of its own, not by hash."""

    type: Literal["approveAgent"]
    agentAddress: Address  # noqa: N815 -- the wire's name
    agentName: str = ""  # noqa: N815 -- same
    nonce: Uint64
    signatureChainId: Annotated[str, StringConstraints(pattern=r"^0x[0-9a-fA-F]{1,16}$")]  # noqa: N815 -- same
    hyperliquidChain: Literal["Mainnet", "Testnet"]  # noqa: N815 -- same


Action = Annotated[
    OrderAction
    | CancelAction
    | CancelByCloidAction
    | ModifyAction
    | BatchModifyAction
    | UpdateLeverageAction
    | UpdateIsolatedMarginAction
    | ScheduleCancelAction
    | ApproveAgentAction
    | NoopAction,
    Field(discriminator="type"),
]


def _is_hex_256(text: str) -> str:
    if not _HEX_256.fullmatch(text):
        raise ValueError("not a hexadecimal number of at most 256 bits")
    return text


Hex256 = Annotated[str, AfterValidator(_is_hex_256)]


class SignatureWire(WireModel):
    """An ECDSA signature; r and s may lack leading zeros."""

    r: Hex256
    s: Hex256
    v: int


class Envelope(WireModel):
    """The body of `POST /exchange`."""

    action: Action
    nonce: Uint64
    signature: SignatureWire
    vaultAddress: Address | None = None  # noqa: N815 -- the wire's name
    expiresAfter: Uint64 | None = None  # noqa: N815 -- same

    def canonical_action(self) -> dict[str, Any]:
        """The action as it is hashed: keys in the declared order, no trailing zeros, lower-case hexadecimals."""
        return self.action.model_dump(exclude_unset=True)


def action_weight(action: Any) -> int:  # noqa: ANN401 -- any of the models above; only its batch length matters
    """How many orders, cancels or modifications an action carries: what it costs of the address budget."""
    for name in ("orders", "cancels", "modifies"):
        batch = getattr(action, name, None)
        if batch is not None:
            return len(batch)
    return 1

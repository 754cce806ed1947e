"""Hypothesis strategies made from the contract's own models: any value that a field of theirs can hold."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import annotated_types
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, JsonValue, RootModel, StringConstraints
from pydantic.fields import FieldInfo

from allora_mqtt.protocol.commands import ACTIONS, Body, Envelope, SetConfig, SetCrypto, SetCryptos, SetMode
from allora_mqtt.protocol.topics import Address, Slot

M = TypeVar("M", bound=BaseModel)

_FIRST = datetime(1, 1, 2, tzinfo=UTC)

texts = st.text(st.characters(codec="utf-8"), max_size=20)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)

moments = st.integers(0, 3_600_000 * 24 * 365 * 9000).map(lambda ms: _FIRST + timedelta(milliseconds=ms))
"""Times in UTC, to the millisecond: what JSON keeps of them."""

zoned_moments = st.builds(
    lambda moment, minutes, us: (moment + timedelta(microseconds=us)).astimezone(timezone(timedelta(minutes=minutes))),
    moments,
    st.integers(-840, 840),
    st.integers(0, 999),
)

amounts = st.decimals(min_value="-1e7", max_value="1e7", places=6, allow_nan=False, allow_infinity=False)
"""Money with as many digits as a JSON number keeps."""

_FREE: dict[Any, st.SearchStrategy[Any]] = {
    Decimal: amounts,
    AwareDatetime: moments,
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    type(None): st.none(),
}


def instances(model: type[M]) -> st.SearchStrategy[M]:
    """Instances of a model, made by validation, with every field free and optional ones at times left out."""
    if issubclass(model, RootModel):
        return _of(model.model_fields["root"]).map(model.model_validate)
    required: dict[Any, st.SearchStrategy[Any]] = {}
    optional: dict[Any, st.SearchStrategy[Any]] = {}
    for name, field in model.model_fields.items():
        (required if field.is_required() else optional)[field.alias or name] = _of(field)
    return st.fixed_dictionaries(required, optional=optional).map(model.model_validate)


def _of(field: FieldInfo) -> st.SearchStrategy[Any]:
    return _values(field.annotation, field.metadata)


def _values(annotation: Any, metadata: Iterable[Any] = ()) -> st.SearchStrategy[Any]:
    """Values of an annotation under the constraints in its metadata."""
    known = list(metadata)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is JsonValue:
        values = json_values
    elif origin is Annotated:
        inner = [
            part for found in arguments[1:] for part in (found.metadata if isinstance(found, FieldInfo) else [found])
        ]
        values = _values(arguments[0], [*inner, *known])
    elif origin in {Union, UnionType}:
        values = st.one_of([_values(argument) for argument in arguments])
    elif origin is Literal:
        values = st.sampled_from(arguments)
    elif origin is list:
        values = st.lists(_values(arguments[0]), max_size=3)
    elif origin is tuple:
        values = st.lists(_values(arguments[0]), max_size=3).map(tuple)
    elif origin is dict:
        least = _bound(known, annotated_types.MinLen, "min_length", 0)
        values = st.dictionaries(_values(arguments[0]), _values(arguments[1]), min_size=least, max_size=least + 3)
    else:
        values = _scalars(annotation, known)
    return values


def _scalars(kind: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    if kind in _FREE:
        return _FREE[kind]
    if kind is int:
        return st.integers(_bound(metadata, annotated_types.Ge, "ge"), _bound(metadata, annotated_types.Le, "le"))
    if kind is str:
        return _strings(metadata)
    if issubclass(kind, Enum):
        return st.sampled_from(kind)
    return instances(kind)


def _strings(metadata: list[Any]) -> st.SearchStrategy[str]:
    limits = next((found for found in metadata if isinstance(found, StringConstraints)), StringConstraints())
    least, most = limits.min_length or 0, 20 if limits.max_length is None else min(limits.max_length, 20)
    if not isinstance(limits.pattern, str):
        return st.text(st.characters(codec="utf-8"), min_size=least, max_size=most)
    matching = st.from_regex(limits.pattern.removesuffix("$") + r"\Z", alphabet=st.characters(codec="utf-8"))
    return matching.filter(lambda text: least <= len(text) <= (limits.max_length or len(text)))


def _bound(metadata: list[Any], kind: type, attribute: str, default: Any = None) -> Any:
    return next((getattr(found, attribute) for found in metadata if isinstance(found, kind)), default)


_BODIES: list[type[Body]] = [SetMode, SetCryptos, SetCrypto, SetConfig, *ACTIONS.values()]

bodies: st.SearchStrategy[Body] = st.one_of([instances(model) for model in _BODIES])
"""Every command there is."""

envelopes = instances(Envelope)

addresses: st.SearchStrategy[Address] = st.one_of(
    st.sampled_from([Address(Slot.MODE), Address(Slot.CRYPTOS), Address(Slot.CONFIG)]),
    st.builds(Address, st.sampled_from([Slot.CRYPTO, Slot.CONFIG_KEY, Slot.REQUEST]), texts),
    st.builds(Address, st.just(Slot.REQUEST), st.sampled_from(list(ACTIONS))),
    st.just(Address(Slot.CRYPTO, "BTC")),
    st.just(Address(Slot.CONFIG_KEY, "max_leverage")),
)
"""Everywhere that a command can come in, with strange words in the topic as well."""

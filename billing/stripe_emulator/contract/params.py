"""Checks a decoded form against the SDK's parameter types and converts its strings.

Stricter than the types in one point: where they write `Literal["a", "b"] | str`
(open on purpose, so that old clients survive new values) we take the literals as
the closed list Stripe's servers know.
"""

from __future__ import annotations

import functools
import math
import sys
import types
import typing
from decimal import Decimal, InvalidOperation
from typing import Any, ForwardRef, Literal, Union

import typing_extensions as te
from stripe._request_options import RequestOptions

from billing.stripe_emulator.contract.routes import params_class
from billing.stripe_emulator.errors import StripeError, missing

Checked = dict[str, Any]
MAX_STRING = 5000
MAX_INTEGER = 2**53


class Mismatch(Exception):
    """A value does not fit this type; another member of a union may still take it."""

    def __init__(self, error: StripeError, depth: int = 0) -> None:
        super().__init__(error.message)
        self.error = error
        self.depth = depth


def params_check(where: str | None, given: dict[str, Any]) -> Checked:
    """The parameters with their types, or StripeError naming the first bad one."""
    try:
        if where is None:
            return _typed_dict_fields({}, given, "")
        return _typed_dict_fields(_fields(params_class(where)), given, "")
    except Mismatch as mismatch:
        raise mismatch.error from None


@functools.cache
def _fields(cls: Any) -> dict[str, tuple[bool, Any]]:
    """Name to (required, type) of one TypedDict, the client's own options left out."""
    # `StripeContext` is named by the client's own options only, which are left out below.
    names = {**vars(sys.modules[cls.__module__]), "StripeContext": object, "Mapping": dict}
    hints = typing.get_type_hints(cls, names, include_extras=True)
    skip = set(RequestOptions.__annotations__)
    out = {}
    for name, hint in hints.items():
        if name in skip:
            continue
        required = True
        if typing.get_origin(hint) in (te.NotRequired, typing.NotRequired):
            required, hint = False, typing.get_args(hint)[0]
        out[name] = (required, hint)
    return out


def _typed_dict_fields(fields: dict[str, tuple[bool, Any]], given: Any, path: str) -> Checked:
    out: Checked = {}
    for name, value in given.items():
        where = f"{path}[{name}]" if path else name
        if name not in fields:
            error = StripeError(f"Received unknown parameter: {where}", code="parameter_unknown", param=where)
            raise Mismatch(error, _depth(where))
        out[name] = _convert(fields[name][1], value, where)
    for name, (required, _) in fields.items():
        if required and name not in given:
            where = f"{path}[{name}]" if path else name
            raise Mismatch(missing(where), _depth(where))
    return out


def _depth(path: str) -> int:
    return path.count("[")


def _convert(hint: Any, value: Any, path: str) -> Any:
    if isinstance(hint, ForwardRef | str):
        raise TypeError(f"unresolved type {hint!r} at {path}")
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(typing.get_args(hint), value, path)
    if te.is_typeddict(hint):
        return _typed_dict_fields(_fields(hint), _as_dict(value, path), path)
    if origin in (list, typing.List):  # noqa: UP006
        return _convert_list(typing.get_args(hint)[0], value, path)
    if origin is dict or getattr(origin, "__name__", "") == "UntypedStripeObject":
        item = typing.get_args(hint)[-1]
        # An empty value in a free map unsets its key.
        return {k: v if v == "" else _convert(item, v, f"{path}[{k}]") for k, v in _as_dict(value, path).items()}
    if origin is Literal:
        return _convert_literal(typing.get_args(hint), value, path)
    return _convert_leaf(hint, value, path)


def _as_dict(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Mismatch(StripeError("Invalid object", code="parameter_invalid_object", param=path))
    return value


def _convert_list(item: Any, value: Any, path: str) -> list[Any]:
    if value == "":
        return []
    if not isinstance(value, dict) or not all(key.isdigit() for key in value):
        raise Mismatch(StripeError("Invalid array", code="parameter_invalid_array", param=path))
    ordered = sorted(value.items(), key=lambda pair: int(pair[0]))
    return [_convert(item, element, f"{path}[{index}]") for index, element in ordered]


def _convert_union(members: tuple[Any, ...], value: Any, path: str) -> Any:
    literals = [m for m in members if typing.get_origin(m) is Literal]
    words = [word for m in literals for word in typing.get_args(m)]
    if value == "" and "" in words:
        # Empty unsets; for a list that is the list without entries.
        return [] if any(typing.get_origin(member) is list for member in members) else ""
    closed = any(word != "" for word in words)
    rest = [m for m in members if m not in literals and m is not type(None) and not (closed and m is str)]
    deepest: Mismatch | None = None
    for member in ([Literal[tuple(words)]] if closed else []) + rest:
        try:
            return _convert(member, value, path)
        except Mismatch as mismatch:
            if deepest is None or mismatch.depth > deepest.depth:
                deepest = mismatch
    if deepest is None:
        raise Mismatch(StripeError(f"Invalid value for {path}", param=path))
    raise deepest


def _convert_literal(words: tuple[Any, ...], value: Any, path: str) -> Any:
    for word in words:
        if value == word or (isinstance(word, bool) and value == str(word).lower()):
            return word
    known = [str(word) for word in words if word != ""]
    if not known:
        raise Mismatch(StripeError(f"Invalid {path}: it can only be empty", param=path), _depth(path))
    listed = known[0] if len(known) == 1 else f"one of {', '.join(known[:-1])}, or {known[-1]}"
    raise Mismatch(StripeError(f"Invalid {path}: must be {listed}", param=path), _depth(path))


def _convert_leaf(hint: Any, value: Any, path: str) -> Any:
    if hint is Any or hint is object:
        return value
    if isinstance(value, dict):
        raise Mismatch(StripeError(f"Invalid {getattr(hint, '__name__', 'string')}: {path}", param=path))
    if value == "":
        raise Mismatch(
            StripeError(
                f"You passed an empty string for '{path}'. We assume empty values are an attempt to unset a "
                f"parameter; however '{path}' cannot be unset. You should remove '{path}' from your request or "
                "supply a non-empty value.",
                code="parameter_invalid_empty",
                param=path,
            )
        )
    if hint is str:
        return _string(value, path)
    if hint is bool:
        if value in ("true", "false"):
            return value == "true"
        raise Mismatch(StripeError(f"Invalid boolean: {value[:40]}", param=path))
    if hint is int:
        return _integer(value, path)
    if hint in (float, Decimal):
        return _decimal(value, path, hint)
    raise TypeError(f"the contract has a type the checker does not know: {hint!r} at {path}")


def _string(value: str, path: str) -> str:
    if len(value) > MAX_STRING:
        message = f"Invalid string: {value[:12]}...; must be at most {MAX_STRING} characters"
        raise Mismatch(StripeError(message, param=path))
    return value


def _integer(value: str, path: str) -> int:
    digits = value[1:] if value.startswith("-") else value
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18) or abs(int(value)) > MAX_INTEGER:
        raise Mismatch(StripeError(f"Invalid integer: {value[:40]}", code="parameter_invalid_integer", param=path))
    return int(value)


def _decimal(value: str, path: str, hint: Any) -> Any:
    try:
        number = Decimal(value)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or not math.isfinite(float(number)):
        raise Mismatch(StripeError(f"Invalid decimal: {value[:40]}", param=path))
    return number if hint is Decimal else float(number)

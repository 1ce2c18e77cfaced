"""Objects of the API: empty ones of a resource type, and the check of answers against it."""

from __future__ import annotations

import functools
import importlib
import types
import typing
from decimal import Decimal
from typing import Any, ForwardRef, Literal, Union

from stripe import StripeObject
from stripe._object_classes import OBJECT_CLASSES, V2_OBJECT_CLASSES

_INTERNAL = {"OBJECT_NAME", "_inner_class_types", "_inner_class_dicts", "_field_remappings", "_field_encodings"}


@functools.cache
def resource_class(kind: str) -> Any:
    """The SDK class of one `object` name, such as `checkout.session`."""
    module, name = (V2_OBJECT_CLASSES if kind.startswith("v2.") else OBJECT_CLASSES)[kind]
    return getattr(importlib.import_module(module), name)


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return {
        name: hint
        for name, hint in vars(cls).get("__annotations__", {}).items()
        if name not in _INTERNAL and typing.get_origin(hint) is not typing.ClassVar
    }


def skeleton(kind: str) -> dict[str, Any]:
    """A new object of one kind with every field of the SDK's type: null where that may be null,
    else the emptiest value that fits. The nouns fill in what has a meaning."""
    out = _empty_of(resource_class(kind))
    out.pop("deleted", None)
    return {**out, "object": kind, "livemode": False} if "livemode" in out else {**out, "object": kind}


def empty(kind: str, *inner: str) -> dict[str, Any]:
    """The emptiest value of a part of a kind, by the SDK's names of its classes (`Phase`, `Item`)."""
    cls = resource_class(kind)
    for name in inner:
        cls = getattr(cls, name)
    return _empty_of(cls)


def _empty_of(cls: Any) -> dict[str, Any]:
    return {name: _empty(hint) for name, hint in _hints(cls).items()}


def _empty(hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        members = typing.get_args(hint)
        return None if type(None) in members else _empty(members[0])
    if origin is Literal:
        return typing.get_args(hint)[0]
    if origin in (list, typing.List):  # noqa: UP006
        return []
    if hint is bool:
        return False
    if hint in (int, float):
        return 0
    if hint is str:
        return ""
    if hint is Decimal:
        return "0"
    if isinstance(hint, type) and issubclass(hint, StripeObject) and hint.__name__ != "UntypedStripeObject":
        return _empty_of(hint)
    if isinstance(hint, ForwardRef | str):
        return None
    return {}


def shape_problems(body: Any, kind: str | None = None) -> list[str]:
    """What in an answer does not fit the SDK's type of its `object`; empty when all is well."""
    if not isinstance(body, dict):
        return ["the answer is not an object"]
    name = kind or body.get("object")
    if body.get("deleted"):
        return []
    if name is None and "next_page_url" in body:  # a page of the v2 API has no name
        name = "list"
    if name in ("list", "search_result"):
        return [p for item in body["data"] for p in shape_problems(item)]
    if name == "v2.core.event":
        # Its data and related object are typed by the classes of single events.
        body = {field: value for field, value in body.items() if field not in ("data", "related_object")}
    if name not in OBJECT_CLASSES and name not in V2_OBJECT_CLASSES:
        return [f"unknown object {name!r}"]
    return _object_problems(resource_class(name), body, str(name))


def _object_problems(cls: Any, body: dict[str, Any], path: str) -> list[str]:
    hints = _hints(cls)
    remapped = {new: old for old, new in getattr(cls, "_field_remappings", {}).items()}
    out = [f"{path}: unknown field {name}" for name in body if name not in hints and name not in remapped]
    for name, hint in hints.items():
        if name in body:
            out += _value_problems(hint, body[name], f"{path}.{name}")
        elif not _optional(hint):
            out.append(f"{path}: missing {name}")
    return out


def _optional(hint: Any) -> bool:
    return typing.get_origin(hint) in (Union, types.UnionType) and type(None) in typing.get_args(hint)


def _value_problems(hint: Any, value: Any, path: str) -> list[str]:
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        return _union_problems(typing.get_args(hint), value, path)
    if origin is Literal:
        return [] if value in typing.get_args(hint) else [f"{path}: {value!r} is not one of {typing.get_args(hint)}"]
    if origin in (list, typing.List):  # noqa: UP006
        if not isinstance(value, list):
            return [f"{path}: not a list"]
        return [p for i, v in enumerate(value) for p in _value_problems(typing.get_args(hint)[0], v, f"{path}[{i}]")]
    if isinstance(hint, ForwardRef | str) or getattr(origin, "__name__", "") == "ListObject":
        # A nested resource knows its own type.
        return shape_problems(value) if isinstance(value, dict) else [f"{path}: not an object"]
    if isinstance(hint, type) and issubclass(hint, StripeObject) and origin is None:
        return _object_problems(hint, value, path) if isinstance(value, dict) else [f"{path}: not an object"]
    return _leaf_problems(hint, value, path)


def _union_problems(members: tuple[Any, ...], value: Any, path: str) -> list[str]:
    if value is None:
        return [] if type(None) in members else [f"{path}: null"]
    literals = [m for m in members if typing.get_origin(m) is Literal]
    rest = [m for m in members if m is not type(None) and m not in literals]
    if literals and (not rest or rest == [str]):
        words = tuple(word for m in literals for word in typing.get_args(m))
        return [] if value in words else [f"{path}: {value!r} is not one of {words}"]
    problems = [_value_problems(member, value, path) for member in [*rest, *literals]]
    return [] if any(not p for p in problems) else min(problems, key=len)


def _leaf_problems(hint: Any, value: Any, path: str) -> list[str]:
    wanted = {str: (str,), int: (int,), bool: (bool,), float: (int, float), Decimal: (str,)}.get(hint)
    if wanted is None:
        return []
    fits = isinstance(value, wanted) and (hint is bool or not isinstance(value, bool))
    return [] if fits else [f"{path}: {value!r} is not {hint.__name__}"]

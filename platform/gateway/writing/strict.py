"""Whether a call's arguments fit the schema of a `strict` function, where the model was free to write what it liked.

The part of JSON Schema that such schemas are made of, and no more: a schema is a stranger's, so there are no regular
expressions here, nothing is fetched, and a check takes so many steps at most. A schema beyond that is refused up front.
"""

from __future__ import annotations

import json
from typing import Any

from kit.errors import BadRequest

MAX_SCHEMA = 64 << 10
"""Bytes of a schema as JSON."""
MAX_STEPS = 20_000
MAX_DEPTH = 64
_EACH = 8
"""Members of an `enum`, or names that are required, that are looked at in the time of a step."""
_CHARACTERS = 256
"""Characters that are compared in the time of a member."""
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "number": (int, float), "integer": (int,), "boolean": (bool,), "null": (type(None),),
    "object": (dict,), "array": (list,),
}  # fmt: skip
_WORDS = frozenset(
    {"title", "description", "default", "examples", "format", "$schema", "$id", "$comment", "deprecated", "$defs",
     "definitions", "discriminator"}
)  # fmt: skip
"""Keywords that say nothing about what fits."""
_SEVERAL = ("anyOf", "oneOf", "allOf")
_BOUNDS = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
}
_SIZES = {"minLength": str, "maxLength": str, "minItems": list, "maxItems": list}
_KNOWN = _WORDS | {"type", "enum", "const", "properties", "required", "additionalProperties", "items", "$ref",
                   *_SEVERAL, *_BOUNDS, *_SIZES}  # fmt: skip
_LISTS = ("type", "enum", "const", "required")
"""Keywords that are gone through, or compared, at every value."""


class _TooMuch(Exception):
    """The check took too many steps."""


class Strict:
    """A schema whose every keyword is understood. BadRequest names one that is not."""

    def __init__(self, schema: dict[str, Any], at: str) -> None:
        text_of(schema, at)
        self._schema = schema
        self._steps = 0
        self._weights: dict[int, int] = {}  # by identity of each part that was understood
        self._references: dict[str, str] = {}  # to where each stands first
        self._understand(schema, at, 0)
        self._targets = {reference: self._target(reference, where) for reference, where in self._references.items()}

    def fits(self, value: Any) -> bool:
        """Whether a JSON value is what the schema says; False as well where that takes too long to find out."""
        self._steps = 0
        try:
            return self._fits(self._schema, value, 0)
        except _TooMuch:
            return False

    def _understand(self, schema: Any, at: str, depth: int) -> None:
        if isinstance(schema, bool) and depth:
            return
        if not isinstance(schema, dict) or depth > MAX_DEPTH:
            raise BadRequest(f"'{at}' is no schema.", param=at)
        for keyword, part in schema.items():
            where = f"{at}.{keyword[:40]}"
            if keyword not in _KNOWN:
                raise BadRequest(
                    f"'{where}': a strict function cannot use this keyword. Leave it or 'strict' out, or set "
                    "'tool_choice' to 'required'.",
                    param=where,
                )
            if not _well_formed(keyword, part):
                raise _malformed(where)
            if keyword == "$ref":
                self._references.setdefault(part, where)
        self._weights[id(schema)] = 1 + sum(_size(schema[name]) for name in _LISTS if name in schema) // _EACH
        for name in ("properties", "$defs", "definitions"):
            for key, part in schema.get(name, {}).items():
                self._understand(part, f"{at}.{name}.{key[:40]}", depth + 1)
        for name in _SEVERAL:
            for index, part in enumerate(schema.get(name, ())):
                self._understand(part, f"{at}.{name}[{index}]", depth + 1)
        for name in ("items", "additionalProperties"):
            if name in schema:
                self._understand(schema[name], f"{at}.{name}", depth + 1)

    def _target(self, reference: str, where: str) -> Any:
        """The schema that `#/a/b` points at."""
        found: Any = self._schema if reference == "#" or reference.startswith("#/") else None
        for part in reference.split("/")[1:]:
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        if not isinstance(found, bool) and id(found) not in self._weights:
            raise _malformed(where)
        return found

    def _fits(self, schema: Any, value: Any, depth: int) -> bool:
        self._steps += self._weights.get(id(schema), 1)
        if self._steps > MAX_STEPS or depth > 4 * MAX_DEPTH:
            raise _TooMuch
        if isinstance(schema, bool):
            return schema
        if "$ref" in schema and not self._fits(self._targets[schema["$ref"]], value, depth + 1):
            return False
        if not _plain(schema, value):
            return False
        for name, enough in (("anyOf", any), ("allOf", all)):
            if name in schema and not enough(self._fits(part, value, depth + 1) for part in schema[name]):
                return False
        if "oneOf" in schema and sum(self._fits(part, value, depth + 1) for part in schema["oneOf"]) != 1:
            return False
        return self._inside(schema, value, depth + 1)

    def _inside(self, schema: dict[str, Any], value: Any, depth: int) -> bool:
        if isinstance(value, list):
            return "items" not in schema or all(self._fits(schema["items"], item, depth) for item in value)
        if not isinstance(value, dict):
            return True
        if any(name not in value for name in schema.get("required", ())):
            return False
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        return all(self._fits(properties.get(name, others), item, depth) for name, item in value.items())


def text_of(schema: dict[str, Any], at: str) -> str:
    """A schema as JSON text. BadRequest where it is too long."""
    text = json.dumps(schema, ensure_ascii=False)
    if len(text.encode()) > MAX_SCHEMA:
        raise BadRequest(f"'{at}' is longer than {MAX_SCHEMA >> 10} KiB. Send a smaller schema.", param=at)
    return text


def _malformed(where: str) -> BadRequest:
    return BadRequest(f"'{where}' is not what JSON Schema wants there.", param=where)


def _size(value: Any) -> int:
    """What a comparison with a JSON value can cost, in members."""
    if isinstance(value, str):
        return 1 + len(value) // _CHARACTERS
    if isinstance(value, list):
        return 1 + sum(map(_size, value))
    if isinstance(value, dict):
        return 1 + sum(map(_size, value)) + sum(map(_size, value.values()))
    return 1


def _well_formed(keyword: str, part: Any) -> bool:
    if keyword == "type":
        kinds = part if isinstance(part, list) else [part]
        return bool(kinds) and all(isinstance(kind, str) and kind in _TYPES for kind in kinds)
    if keyword in ("enum", *_SEVERAL):
        return isinstance(part, list) and bool(part)
    if keyword == "required":
        return isinstance(part, list) and all(isinstance(name, str) for name in part)
    if keyword in ("properties", "$defs", "definitions"):
        return isinstance(part, dict)
    if keyword == "$ref":
        return isinstance(part, str)
    if keyword in _BOUNDS or keyword in _SIZES:
        return isinstance(part, (int, float)) and not isinstance(part, bool)
    return True


def _plain(schema: dict[str, Any], value: Any) -> bool:
    """The keywords that look at the value alone."""
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(_is(kind, value) for kind in kinds):
            return False
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        return False
    if "const" in schema and not _same(value, schema["const"]):
        return False
    if _is("number", value):
        return all(holds(value, schema[name]) for name, holds in _BOUNDS.items() if name in schema)
    for name, kind in _SIZES.items():
        if name in schema and isinstance(value, kind):
            size, bound = len(value), schema[name]
            if size < bound if name.startswith("min") else size > bound:
                return False
    return True


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind]) or (kind == "integer" and isinstance(value, float) and value.is_integer())


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other

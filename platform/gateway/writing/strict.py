"""Whether a call's arguments fit the schema of a `strict` function, where the model was free to write what it liked.

The part of JSON Schema that such schemas are made of, and no more: a schema is a stranger's, so there are no regular
expressions here, nothing is fetched, and a check takes so many steps at most. A schema beyond that is refused up front.
"""

from __future__ import annotations

from typing import Any

from kit.errors import BadRequest

MAX_STEPS = 20_000
MAX_DEPTH = 64
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


class _TooMuch(Exception):
    """The check took too many steps."""


class Strict:
    """A schema whose every keyword is understood. BadRequest names one that is not."""

    def __init__(self, schema: dict[str, Any], at: str) -> None:
        self._schema = schema
        self._steps = 0
        self._understand(schema, at, 0)

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
            if not _well_formed(keyword, part) or (keyword == "$ref" and self._target(part) is None):
                raise BadRequest(f"'{where}' is not what JSON Schema wants there.", param=where)
        for name in ("properties", "$defs", "definitions"):
            for key, part in schema.get(name, {}).items():
                self._understand(part, f"{at}.{name}.{key[:40]}", depth + 1)
        for name in _SEVERAL:
            for index, part in enumerate(schema.get(name, ())):
                self._understand(part, f"{at}.{name}[{index}]", depth + 1)
        for name in ("items", "additionalProperties"):
            if name in schema:
                self._understand(schema[name], f"{at}.{name}", depth + 1)

    def _target(self, reference: str) -> Any:
        """What `#/a/b` points at, None for nothing."""
        found: Any = self._schema
        for part in reference.split("/")[1:]:
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        return found if reference == "#" or reference.startswith("#/") else None

    def _fits(self, schema: Any, value: Any, depth: int) -> bool:
        self._steps += 1
        if self._steps > MAX_STEPS or depth > 4 * MAX_DEPTH:
            raise _TooMuch
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):  # a reference to what is no schema
            return False
        if "$ref" in schema and not self._fits(self._target(schema["$ref"]), value, depth + 1):
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

"""Whether a JSON value is what the OpenAPI document says, key by key."""

from __future__ import annotations

from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator

KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


@cache
def document() -> dict[str, Any]:
    """The document as it is served."""
    made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return made


def answer_schema(method: str, path: str, status: int) -> dict[str, Any]:
    """The JSON schema of one answer."""
    answers = document()["paths"][path][method.lower()]["responses"]
    found: dict[str, Any] = answers[str(status)]["content"]["application/json"]["schema"]
    return found


def body_schema(method: str, path: str, media: str) -> dict[str, Any]:
    """The schema of one body."""
    found: dict[str, Any] = document()["paths"][path][method.lower()]["requestBody"]["content"][media]["schema"]
    return found


def followed(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without references at its top."""
    while "$ref" in schema or len(schema.get("allOf", [])) == 1:
        inner = schema["allOf"][0] if "allOf" in schema else schema
        rest = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
        schema = {**document()["components"]["schemas"][inner["$ref"].rsplit("/", 1)[1]], **rest}
    return schema


def differences(schema: dict[str, Any], value: Any, at: str = "$") -> list[str]:
    """Where the value is not what the schema says: keys without words, keys that are missing, other types."""
    schema = followed(schema)
    if value is None:
        return [] if schema.get("nullable") else [f"{at} is null"]
    if "oneOf" in schema:
        tries = [differences(one, value, at) for one in schema["oneOf"]]
        return min(tries, key=len)
    kind = schema.get("type")
    if kind and (not isinstance(value, KINDS[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{at} is {type(value).__name__}, not {kind}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{at} is {value!r}, not one of {schema['enum']}"]
    if kind == "array":
        return [bad for index, item in enumerate(value) for bad in differences(schema["items"], item, f"{at}[{index}]")]
    if kind != "object":
        return []
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", False)
    found = [f"{at}.{name} is missing" for name in schema.get("required", []) if name not in value]
    for name, item in value.items():
        if name in properties:
            found += differences(properties[name], item, f"{at}.{name}")
        elif isinstance(others, dict):
            found += differences(others, item, f"{at}.{name}")
        elif not others:
            found.append(f"{at}.{name} is not in the reference")
    return found

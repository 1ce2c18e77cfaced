"""The usual body of each hot path, made from the reference's schema: a new path of HANDLERS joins by being there."""

from __future__ import annotations

from typing import Any

from gateway.app import HANDLERS
from tests.contracts.conformance import body_schema, followed

PATHS = sorted(HANDLERS)
USUAL: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "a text"}]},
    "/v1/decisions": {"input": "a text", "questions": [{"type": "choice"}]},
}
"""Usual bodies of paths, without the model, where the schema's least is none."""


def least(path: str) -> dict[str, Any]:
    """The least body of a path, without the model that it is to name."""
    made: dict[str, Any] = USUAL.get(path) or least_of(body_schema("POST", path, "application/json"))
    return made


def least_of(schema: dict[str, Any]) -> Any:
    """The least value that a schema allows."""
    schema = followed(schema)
    if "oneOf" in schema:
        return least_of(schema["oneOf"][0])
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: least_of(schema["properties"][name]) for name in schema.get("required", [])}
        case "array":
            return [least_of(schema["items"])]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
    return "a text"

"""Form bodies with nested names (`items[0][price]=p`) to nested dicts.

Every leaf is a string: types are the contract's matter.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl

from billing.stripe_emulator.errors import StripeError

MAX_FIELDS = 2000
MAX_DEPTH = 10
_NAME = re.compile(r"^([^\[\]]+)((?:\[[^\[\]]*\])*)$")
_PART = re.compile(r"\[([^\[\]]*)\]")


def form_decode(text: str) -> dict[str, Any]:
    """Decode one urlencoded string. Later values of one name win, `a[]` appends.

    Raises StripeError for a name that is not well formed, or far too many of them.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except (ValueError, UnicodeDecodeError) as error:
        raise StripeError(f"Invalid request body: {error}.") from error
    out: dict[str, Any] = {}
    for name, value in pairs:
        _place(out, _path(name), value, name)
    return out


def json_decode(body: bytes) -> dict[str, Any]:
    """A JSON object in the same form: lists are numbered, and every leaf is a string. Raises StripeError for others."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise StripeError("Invalid request body: not JSON.") from error
    if not isinstance(given, dict):
        raise StripeError("Invalid request body: send a JSON object.")
    return {name: _leaf(value, 0) for name, value in given.items()}


def _leaf(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise StripeError("Parameter nested too deeply.")
    if isinstance(value, dict):
        return {name: _leaf(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list):
        return {str(index): _leaf(inner, depth + 1) for index, inner in enumerate(value)}
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _path(name: str) -> list[str]:
    match = _NAME.match(name)
    if match is None:
        raise StripeError(f"Invalid parameter name: {name[:80]}", param=name[:80])
    path = [match.group(1), *_PART.findall(match.group(2))]
    if len(path) > MAX_DEPTH:
        raise StripeError(f"Parameter nested too deeply: {name[:80]}", param=name[:80])
    return path


def _place(out: dict[str, Any], path: list[str], value: str, name: str) -> None:
    here = out
    for key in path[:-1]:
        there = here.setdefault(key or str(len(here)), {})
        if not isinstance(there, dict):
            raise StripeError(f"Invalid parameter: {name[:80]} is both a value and an object", param=name[:80])
        here = there
    here[path[-1] or str(len(here))] = value

"""JSON as the API reads it: UTF-8, finite numbers, no duplicate keys, no lone surrogates, bounded depth and digits."""

import json
from typing import Any

from kit.errors import BadRequest

MAX_DEPTH = 64
MAX_DIGITS = 40
GZIP = b"\x1f\x8b"


def loads(raw: bytes) -> Any:
    """The value of a JSON document; BadRequest says what is wrong and where."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        if raw.startswith(GZIP):
            raise BadRequest("The body is compressed. Send plain JSON; compressed bodies are not read.") from error
        raise BadRequest(f"The body is not UTF-8 (byte {error.start}). Send JSON in UTF-8.") from error
    if text.startswith("\ufeff"):
        raise BadRequest("The body begins with a byte order mark. Send JSON in UTF-8 without one.")
    try:
        value = json.loads(
            text, parse_constant=_constant, parse_int=_integer, parse_float=_real, object_pairs_hook=_object
        )
    except json.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    except RecursionError as error:
        raise BadRequest(f"The body is nested deeper than {MAX_DEPTH} levels.") from error
    _bounded(value)
    return value


def _constant(name: str) -> Any:
    raise BadRequest(f"{name} is not a JSON number. Send a finite number.")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise BadRequest(f"A number has {len(digits)} digits; at most {MAX_DIGITS} are read.")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise BadRequest(f"The number {digits[:20]} is too large. Send a finite number.")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            _whole(key)  # the message quotes it
            raise BadRequest(f"The key '{key[:80]}' stands twice in one object.", param=key[:80])
        result[key] = value
    return result


def _bounded(value: Any) -> None:
    """Depth and surrogates, without recursion."""
    stack = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise BadRequest(f"The body is nested deeper than {MAX_DEPTH} levels.")
        if isinstance(item, str):
            _whole(item)
        elif isinstance(item, dict):
            for key, child in item.items():
                _whole(key)
                stack.append((child, depth + 1))
        elif isinstance(item, list):
            stack.extend((child, depth + 1) for child in item)


def _whole(text: str) -> None:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise BadRequest("A string holds half a character (a lone surrogate). Send whole Unicode text.") from error
    if "\x00" in text:
        raise BadRequest("A string holds a NUL character. Remove it.")

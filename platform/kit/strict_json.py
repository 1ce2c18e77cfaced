"""JSON as the API reads it: UTF-8, finite numbers, no duplicate keys, no lone surrogates, bounded depth, digits and
number of values."""

import json
from typing import Any

from kit.errors import BadRequest

MAX_DEPTH = 64
MAX_DIGITS = 40
MAX_VALUES = 600_000
"""More than any body of ours has: eight megabytes of brackets would hold up everybody's calls for seconds."""
GZIP = b"\x1f\x8b"


def loads(raw: bytes, *, most: int = MAX_VALUES) -> Any:
    """The value of a JSON document of at most so many values; BadRequest says what is wrong and where."""
    reader = _Reader(most)
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
            text,
            parse_constant=_constant,
            parse_int=reader.integer,
            parse_float=reader.real,
            object_pairs_hook=reader.object,
        )
    except json.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    except RecursionError as error:
        raise BadRequest(f"The body is nested deeper than {MAX_DEPTH} levels.") from error
    _bounded(value, most)
    return value


def _constant(name: str) -> Any:
    raise BadRequest(f"{name} is not a JSON number. Send a finite number.")


def _too_many(most: int) -> BadRequest:
    return BadRequest(f"The body holds more than {most:,} values. Send them in several requests.")


class _Reader:
    """What the parser calls; it counts, and gives up in the middle."""

    __slots__ = ("_left", "_most")

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def integer(self, digits: str) -> int:
        self._count(1)
        if len(digits) > MAX_DIGITS:
            raise BadRequest(f"A number has {len(digits)} digits; at most {MAX_DIGITS} are read.")
        return int(digits)

    def real(self, digits: str) -> float:
        self._count(1)
        value = float(digits)
        if value in (float("inf"), float("-inf")):
            raise BadRequest(f"The number {digits[:20]} is too large. Send a finite number.")
        return value

    def object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self._count(1 + len(pairs))
        result: dict[str, Any] = {}
        for key, value in pairs:
            if key in result:
                _whole(key)  # the message quotes it
                raise BadRequest(f"The key '{key[:80]}' stands twice in one object.", param=key[:80])
            result[key] = value
        return result

    def _count(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise _too_many(self._most)


def _bounded(value: Any, most: int) -> None:
    """Depth, surrogates and how many values there are, without recursion."""
    stack, left = [(value, 1)], most
    while stack:
        item, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise BadRequest(f"The body is nested deeper than {MAX_DEPTH} levels.")
        if isinstance(item, str):
            _whole(item)
        elif isinstance(item, (dict, list)):
            left -= len(item)
            if left < 0:
                raise _too_many(most)
            if isinstance(item, dict):
                for key, child in item.items():
                    _whole(key)
                    stack.append((child, depth + 1))
            else:
                stack.extend((child, depth + 1) for child in item)


def _whole(text: str) -> None:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise BadRequest("A string holds half a character (a lone surrogate). Send whole Unicode text.") from error
    if "\x00" in text:
        raise BadRequest("A string holds a NUL character. Remove it.")

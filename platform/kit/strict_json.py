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
_INFINITE = (float("inf"), float("-inf"))


def loads(raw: bytes, *, most: int = MAX_VALUES) -> Any:
    """The value of a JSON document of at most so many values; BadRequest says what is wrong and where."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        if raw.startswith(GZIP):
            raise BadRequest("The body is compressed. Send plain JSON; compressed bodies are not read.") from error
        raise BadRequest(f"The body is not UTF-8 (byte {error.start}). Send JSON in UTF-8.") from error
    if text.startswith("\ufeff"):
        raise BadRequest("The body begins with a byte order mark. Send JSON in UTF-8 without one.")
    try:
        value = (_DECODER if len(raw) <= most else _decoder(_Counter(most))).decode(text)
    except json.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    except RecursionError as error:
        raise BadRequest(f"The body is nested deeper than {MAX_DEPTH} levels.") from error
    if not _surely_bounded(raw, most):
        _bounded(value, most)
    return value


def _surely_bounded(raw: bytes, most: int) -> bool:
    """Whether the bytes alone show what `_bounded` looks for, as those of nearly every body do: only an escape makes
    half a character or a NUL, and few brackets, or bytes, hold neither depth nor many values."""
    return b"\\u" not in raw and raw.count(b"[") + raw.count(b"{") < MAX_DEPTH and len(raw) <= most


def _constant(name: str) -> Any:
    raise BadRequest(f"{name} is not a JSON number. Send a finite number.")


def _too_many(most: int) -> BadRequest:
    return BadRequest(f"The body holds more than {most:,} values. Send them in several requests.")


class _Reader:
    """What the parser calls."""

    __slots__ = ()

    def integer(self, digits: str) -> int:
        if len(digits) > MAX_DIGITS:
            raise BadRequest(f"A number has {len(digits)} digits; at most {MAX_DIGITS} are read.")
        return int(digits)

    def real(self, digits: str) -> float:
        value = float(digits)
        if value in _INFINITE:
            raise BadRequest(f"The number {digits[:20]} is too large. Send a finite number.")
        return value

    def object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            seen: set[str] = set()
            key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            _whole(key)  # the message quotes it
            raise BadRequest(f"The key '{key[:80]}' stands twice in one object.", param=key[:80])
        return result


class _Counter(_Reader):
    """One that counts, and gives up in the middle, for a document that may hold too many values."""

    __slots__ = ("_left", "_most")

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def integer(self, digits: str) -> int:
        self._count(1)
        return super().integer(digits)

    def real(self, digits: str) -> float:
        self._count(1)
        return super().real(digits)

    def object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self._count(1 + len(pairs))
        return super().object(pairs)

    def _count(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise _too_many(self._most)


def _decoder(reader: _Reader) -> json.JSONDecoder:
    return json.JSONDecoder(
        parse_constant=_constant, parse_int=reader.integer, parse_float=reader.real, object_pairs_hook=reader.object
    )


_DECODER = _decoder(_Reader())


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

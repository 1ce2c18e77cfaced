"""Identifiers: UUID version 7 inside, a prefix and 26 lower-case base32 characters outside (`ftjob-01k9…`).

UUIDv7 layout after RFC 9562 section 5.7; base32 alphabet after Crockford (no i, l, o, u), most significant first,
so that ids sort by creation time as text too.
"""

import contextlib
import datetime as dt
import os
import time
import uuid

from kit.errors import NotFound

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26
_MARKS = 0x7 << 76 | 0x2 << 62
_KEPT = (1 << 80) - 1 & ~(0xF << 76 | 0x3 << 62)
"""Version and variant, and which of the random bits stay."""
_VALUES = {character: value for value, character in enumerate(ALPHABET)}
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
_SHIFTS = range(LENGTH * 5 - 10, -1, -10)


def new_id() -> uuid.UUID:
    """A fresh UUIDv7: 48 bits of milliseconds, then random bits."""
    milliseconds = time.time_ns() // 1_000_000 & (2**48 - 1)
    return uuid.UUID(int=milliseconds << 80 | int.from_bytes(os.urandom(10), "big") & _KEPT | _MARKS)


def made_at(value: uuid.UUID) -> dt.datetime:
    """When an id was made, to the millisecond."""
    return dt.datetime.fromtimestamp((value.int >> 80) / 1000, dt.UTC)


def encode(value: uuid.UUID) -> str:
    """26 base32 characters of a UUID."""
    number = value.int
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


def decode(text: str) -> uuid.UUID:
    """The UUID of 26 base32 characters; ValueError when it is not one."""
    if len(text) != LENGTH:
        raise ValueError("wrong length")
    number = 0
    for character in text:
        try:
            number = number * 32 + _VALUES[character]
        except KeyError as error:
            raise ValueError("not base32") from error
    if number >= 2**128:
        raise ValueError("too large")
    return uuid.UUID(int=number)


def public_id(prefix: str, value: uuid.UUID) -> str:
    """The id as clients see it: `public_id("ds_", …)` -> `ds_01k9…`."""
    return prefix + encode(value)


def parse_id(prefix: str, text: object, *, param: str | None = None) -> uuid.UUID:
    """The UUID behind a public id. Anything else is `NotFound`, worded as for an id that nobody has."""
    if isinstance(text, str) and text.startswith(prefix):
        with contextlib.suppress(ValueError):
            return decode(text[len(prefix) :])
    raise NotFound.of(text, param=param)

"""The format of API keys: `ts_live_<id>_<secret>_<checksum>`.

id: 12 base62 characters, public, for the look-up. secret: 32 base62 characters (190 bits). checksum: CRC-32 of what
stands before it, 6 base62 characters, so that a mistyped or invented key is refused before any look-up, and leaked keys
can be found by scanners: `ts_live_[0-9A-Za-z]{12}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}`.
A high-entropy secret needs no slow hash; HMAC-SHA256 under a pepper keeps a stolen table useless.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass

PREFIX = "ts_live"
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
PATTERN = re.compile(r"ts_live_([0-9A-Za-z]{12})_([0-9A-Za-z]{32})_([0-9A-Za-z]{6})")


@dataclass(frozen=True, slots=True)
class KeyParts:
    """A key that has the right form and checksum; whether it opens anything is for the database."""

    lookup: str
    secret: str


def generate() -> tuple[str, KeyParts]:
    """A new key: (plaintext, parts)."""
    parts = KeyParts(lookup=_random(12), secret=_random(32))
    body = f"{PREFIX}_{parts.lookup}_{parts.secret}"
    return f"{body}_{checksum(body)}", parts


def parse(text: str) -> KeyParts | None:
    """The parts of a well-formed key, or None. Touches nothing but the text."""
    match = PATTERN.fullmatch(text)
    if match is None:
        return None
    body = text[: -(len(match[3]) + 1)]
    if not hmac.compare_digest(checksum(body), match[3]):
        return None
    return KeyParts(lookup=match[1], secret=match[2])


def checksum(body: str) -> str:
    """CRC-32 in 6 base62 characters."""
    number, digits = zlib.crc32(body.encode()), []
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits.append(BASE62[digit])
    return "".join(reversed(digits))


def secret_hash(secret: str, pepper: bytes) -> str:
    """HMAC-SHA256 of the secret under the server's pepper, hex."""
    return hmac.new(pepper, secret.encode(), hashlib.sha256).hexdigest()


def _random(length: int) -> str:
    return "".join(secrets.choice(BASE62) for _ in range(length))

"""Secrets that must be read again, kept so that a copy of the database alone tells none of them.

Sealed with Fernet (AES and HMAC) under keys derived from `SECRET_KEY` and its fallbacks: the first seals, all open.
"""

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class CannotOpen(Exception):
    """Sealed under a key this process does not have: `SECRET_KEY` was changed and the old one is no fallback."""


def seal(text: str) -> str:
    """The text, unreadable without the server's key."""
    return _box().encrypt(text.encode()).decode()


def unseal(sealed: str) -> str:
    """What `seal` was given; CannotOpen when its key is gone."""
    try:
        return _box().decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise CannotOpen from error


def reseal(sealed: str) -> str:
    """The same secret under the first key, so that an old key can go; CannotOpen when its key is gone already."""
    return seal(unseal(sealed))


def is_current(sealed: str) -> bool:
    """Whether the first key opens it."""
    try:
        _keys()[0].decrypt(sealed.encode())
    except InvalidToken:
        return False
    return True


def _box() -> MultiFernet:
    return MultiFernet(_keys())


def _keys() -> list[Fernet]:
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    digests = [hashlib.sha256(b"sealed secrets" + secret.encode()).digest() for secret in secrets]
    return [Fernet(base64.urlsafe_b64encode(digest)) for digest in digests]

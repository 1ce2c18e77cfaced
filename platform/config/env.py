"""Typed readers of environment variables: a wrong value stops the start-up with a sentence that says what to do.

Every reader registers the name it reads, so that a test can hold `.env.example` against what settings really read.
"""

import os
from pathlib import Path
from urllib.parse import urlsplit

READ: dict[str, str] = {}
"""Name of each variable read so far -> its default as text (empty when it has none)."""


class SettingError(SystemExit):
    """A setting has a value nobody can mean; the process stops and says which."""


def _raw(name: str, default: str) -> str:
    READ[name] = default
    value = os.environ.get(name)
    return default if value is None or value == "" else value


def text(name: str, default: str = "") -> str:
    """A string as it stands."""
    return _raw(name, default).strip()


def secret(name: str, default: str = "") -> str:
    """A secret: from NAME, or from the file that NAME_FILE names (container secrets)."""
    path = os.environ.get(f"{name}_FILE")
    if path:
        READ[name] = default
        try:
            return Path(path).read_text().strip()
        except OSError as error:
            raise SettingError(f"{name}_FILE names {path}, which cannot be read: {error.strerror}.") from error
    return text(name, default)


def boolean(name: str, default: bool) -> bool:
    """true/false, yes/no, on/off, 1/0."""
    value = _raw(name, "true" if default else "false").strip().lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise SettingError(f"{name}={value!r} is neither true nor false. Use true or false.")


def integer(name: str, default: int, *, low: int = 0, high: int = 2**63 - 1) -> int:
    """A whole number within [low, high]."""
    value = _raw(name, str(default)).strip()
    try:
        number = int(value)
    except ValueError as error:
        raise SettingError(f"{name}={value!r} is not a whole number.") from error
    if not low <= number <= high:
        raise SettingError(f"{name}={number} is outside {low} to {high}.")
    return number


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list; blanks around items are dropped."""
    return [item.strip() for item in _raw(name, default).split(",") if item.strip()]


def url(name: str, form: str, *, schemes: tuple[str, ...], bare: bool = False, default: str = "") -> str:
    """An address with one of the schemes, or the default. It may hold a password, so a wrong one is not repeated:
    `form` says in the message what a right one looks like. `bare` refuses a path, a query and a user."""
    value = secret(name, default)
    try:
        parts = urlsplit(value)
        port_is_one = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_one = urlsplit(""), False
    where = parts.hostname or parts.path.strip("/")
    more = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if value and not (parts.scheme in schemes and port_is_one and where and not (bare and more)):
        raise SettingError(f"{name} is no address of the form {form}.")
    return value


def file(name: str) -> str:
    """The path of a file that is there, or nothing."""
    value = text(name)
    if value and not Path(value).is_file():
        raise SettingError(f"{name} names {value}, which is no file.")
    return value


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    """One of a few words."""
    value = _raw(name, default).strip()
    if value not in allowed:
        raise SettingError(f"{name}={value!r} is not one of {', '.join(allowed)}.")
    return value

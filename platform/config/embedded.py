"""Embedded engines: where the PostgreSQL and Redis that come as wheels keep their data and listen.

This module only computes addresses, so that any process (a shell, a worker, a test) finds running engines by the home
folder alone; `config.engines` starts and stops them. Imports nothing of Django: settings read it.
"""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

DATABASE = "tunesmith"
ROLES = {"default": "tunesmith_app", "ops": "tunesmith_ops", "owner": "tunesmith_owner"}


def run_dir(home: Path) -> Path:
    """Where sockets live: short, because a socket path may not pass about 100 characters."""
    name = hashlib.sha256(str(home).encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"tunesmith-{os.getuid()}-{name}"


def database_url(home: Path, alias: str, database: str = DATABASE) -> str:
    """URL of the embedded database for one of the three roles."""
    return f"postgresql://{ROLES[alias]}@/{database}?host={run_dir(home) / 'pg'}"


def superuser_url(home: Path, database: str = "postgres") -> str:
    """URL of the embedded server's superuser, which makes roles and databases."""
    return f"postgresql://postgres@/{database}?host={run_dir(home) / 'pg'}"


def redis_url(home: Path, db: int = 0) -> str:
    """URL of the embedded Redis."""
    return f"unix://{run_dir(home) / 'redis.sock'}?db={db}"


def engine_address(home: Path) -> str:
    """Address of the inference engine on this machine."""
    return f"unix://{run_dir(home) / 'engine.sock'}"


def with_redis_db(url: str, db: int) -> str:
    """The same Redis, another database number."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix://{parts.path}?db={db}"
    return parts._replace(path=f"/{db}").geturl()


def celery_url(url: str) -> str:
    """A Redis URL in the words of Celery's transport."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        db = parse_qs(parts.query).get("db", ["0"])[0]
        return f"redis+socket://{parts.path}?virtual_host={db}"
    return url


def django_database(url: str) -> dict[str, Any]:
    """Django's DATABASES entry of a postgresql:// URL. Query parameters become libpq options."""
    parts = urlsplit(url)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.pop("host", None) or parts.hostname or "",
        "PORT": str(parts.port or ""),
        "OPTIONS": query,
        "TEST": {"MIGRATE": False},
    }


def mail_settings(url: str) -> dict[str, Any]:
    """Django's settings of smtp://user:password@host:587, encrypted by STARTTLS as soon as there is a user, or of
    smtps://…, encrypted from the first byte."""
    parts = urlsplit(url)
    implicit = parts.scheme == "smtps"
    return {
        "EMAIL_HOST": parts.hostname or "localhost",
        "EMAIL_PORT": parts.port or (465 if implicit else 587),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": implicit,
        "EMAIL_USE_TLS": not implicit and bool(parts.username),
    }

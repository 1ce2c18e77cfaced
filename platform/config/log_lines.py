"""Which loggers write, and in which form: the LOGGING of the settings."""

from typing import Any

SECRET_AFTER = (
    "quotes",
    "invitations",
    "mail/unsubscribe",
    "account/confirm-email",
    "account/password/reset/key",
)
"""Links that open something without signing in: what follows is never written. A test compares with the routes."""


def log_lines(form: str, level: str, *, quiet: bool) -> dict[str, Any]:
    """`form` is json or text; `quiet` leaves out a line for each request, which is for those who collect lines."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {"()": "kit.logs.JsonFormatter", "secret_after": SECRET_AFTER},
            "text": {"()": "kit.logs.TextFormatter", "secret_after": SECRET_AFTER},
        },
        "handlers": {"out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": form}},
        "root": {"handlers": ["out"], "level": level},
        "loggers": {
            "django": {"handlers": [], "propagate": True},
            "django.server": {"handlers": ["out"], "propagate": False},
            "celery": {"level": "WARNING"},
            "kombu": {"level": "WARNING"},
            "stripe": {"level": "WARNING"},
            "uvicorn": {"handlers": [], "propagate": True},  # it brings handlers of its own, whose lines are no JSON
            "uvicorn.error": {"handlers": [], "propagate": True},
            "uvicorn.access": {"level": "WARNING"},
            "kit.access": {"level": "WARNING" if quiet else level},  # a line a request is for those who collect lines
            "django.utils.autoreload": {"level": "WARNING"},
        },
    }

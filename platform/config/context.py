"""What every page knows."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

THEMES = ("light", "dark")


def site(request: HttpRequest) -> dict[str, Any]:
    """Theme from its cookie (absent means the system's), and whether this is a development server."""
    theme = request.COOKIES.get("theme", "")
    return {
        "theme": theme if theme in THEMES else "",
        "debug": settings.DEBUG,
        "base_url": settings.BASE_URL,
        "version": settings.VERSION,
    }

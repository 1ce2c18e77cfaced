"""Where the staff console's own stylesheet and icon stand."""

from django.http import HttpRequest
from django.templatetags.static import static


def stylesheet(request: HttpRequest) -> str:
    """Hashed in production, so it is asked for at render time."""
    return static("ops/staff.css")


def icon(request: HttpRequest) -> str:
    """The mark, in the browser's tab."""
    return static("icons/mark.svg")

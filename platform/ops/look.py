"""Where the staff console's own stylesheet stands."""

from django.http import HttpRequest
from django.templatetags.static import static


def stylesheet(request: HttpRequest) -> str:
    """Hashed in production, so it is asked for at render time."""
    return static("ops/staff.css")

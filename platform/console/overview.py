"""What the overview shows, gathered from the rooms' selectors."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from console.views.base import ConsoleView


def context(view: "ConsoleView") -> dict[str, Any]:
    """Checklist, what needs attention, what runs, what it costs."""
    return {}

"""Small words of the people pages."""

import re

from django import template
from django.utils.translation import gettext as _

register = template.Library()

_BROWSERS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Safari", "Safari"))
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


@register.filter
def browser_name(user_agent: object) -> str:
    """`Firefox on Linux` of a User-Agent header; its first word when it is none of the known ones."""
    text = str(user_agent or "")
    browser = next((name for mark, name in _BROWSERS if f"{mark}/" in text), "")
    system = next((name for mark, name in _SYSTEMS if mark in text), "")
    if browser and system:
        return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    return browser or re.split(r"[\s(]", text)[0][:40] or _("unknown")

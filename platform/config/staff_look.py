"""The staff console's look, for its theme: names, links and colours."""

from typing import Any

_COLORS: dict[str, dict[str, str]] = {
    "base": {
        "50": "oklch(.985 .003 80)",
        "100": "oklch(.965 .004 80)",
        "200": "oklch(.905 .006 80)",
        "300": "oklch(.83 .008 80)",
        "400": "oklch(.72 .012 75)",
        "500": "oklch(.53 .014 65)",
        "600": "oklch(.46 .014 65)",
        "700": "oklch(.38 .012 65)",
        "800": "oklch(.30 .008 60)",
        "900": "oklch(.20 .007 60)",
        "950": "oklch(.165 .006 60)",
    },
    "primary": {
        "50": "oklch(.96 .02 250)",
        "100": "oklch(.92 .04 250)",
        "200": "oklch(.86 .06 248)",
        "300": "oklch(.80 .09 246)",
        "400": "oklch(.76 .10 245)",
        "500": "oklch(.58 .12 248)",
        "600": "oklch(.46 .12 250)",
        "700": "oklch(.41 .11 250)",
        "800": "oklch(.35 .09 250)",
        "900": "oklch(.29 .07 250)",
        "950": "oklch(.22 .05 250)",
    },
}
"""Our neutrals and our steel blue, in the eleven steps the theme asks for."""

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Tunesmith staff",
    "SITE_HEADER": "Tunesmith",
    "SITE_SUBHEADER": "Staff",
    "SITE_SYMBOL": "construction",
    "SITE_URL": "/",
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "6px",
    "STYLES": ["ops.look.stylesheet"],
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "ops.look.icon"}],
    "SIDEBAR": {"show_search": True, "show_all_applications": True, "navigation": "ops.look.navigation"},
    "COLORS": _COLORS,
}

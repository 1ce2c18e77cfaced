"""What a key may do, in words, and the presets of the form."""

from typing import Any

from django.utils.translation import gettext_lazy as _

from tenants.access import MONEY, READ, WRITE

SCOPE_WORDS: dict[str, Any] = {
    "inference": _("Call models"),
    "files.read": _("Read files"),
    "files.write": _("Upload and delete files"),
    "datasets.read": _("Read datasets and findings"),
    "datasets.write": _("Make and change datasets"),
    "jobs.read": _("Read jobs and reports"),
    "jobs.write": _("Start and cancel jobs"),
    "models.read": _("Read models"),
    "models.write": _("Change and delete models"),
    "deployments.read": _("Read deployments"),
    "deployments.write": _("Deploy and stop models"),
    "webhooks.read": _("Read webhooks and their deliveries"),
    "webhooks.write": _("Make, change and test webhooks"),
    "usage.read": _("Read usage and costs"),
    "billing.read": _("Read plan and invoices of the organisation"),
    "billing.write": _("Change the organisation's plan, wallet and automatic top-up, which costs money"),
}
"""Every scope of `tenants.access.KEY_SCOPES`, in the order of the form."""


PRESETS: dict[str, frozenset[str]] = {
    "all": READ | WRITE,
    "call": frozenset({"inference", "models.read"}),
    "read": READ,
}


def choices(may: frozenset[str]) -> list[tuple[str, Any]]:
    """The scopes that a member with these rights may give to a key."""
    return [(scope, words) for scope, words in SCOPE_WORDS.items() if scope not in MONEY - may]


def scopes_of(access: str, chosen: list[str]) -> list[str]:
    """The scopes behind a preset of the form."""
    return sorted(PRESETS[access]) if access in PRESETS else chosen


def preset_of(scopes: list[str]) -> str:
    """The preset that gives these scopes; `chosen` where none does."""
    return next((name for name, preset in PRESETS.items() if preset == set(scopes)), "chosen")

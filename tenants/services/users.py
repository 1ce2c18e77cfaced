"""Changing people's own records."""

from tenants.models import User
from tenants.services.organisations import clean_name


def user_rename(*, user: User, name: str) -> User:
    """Set the display name; an empty one is allowed and shows the address instead."""
    user.name = clean_name(name) if name.strip() else ""
    user.save(update_fields=["name"])
    return user

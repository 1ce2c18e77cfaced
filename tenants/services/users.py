"""Changing people's own records."""

from tenants.models import User
from tenants.services.organisations import clean_name


def user_change(*, user: User, name: str, job_mail: bool) -> User:
    """Set the display name, and whether to mail about jobs. An empty name is allowed and shows the address instead."""
    user.name, user.job_mail = clean_name(name) if name.strip() else "", job_mail
    user.save(update_fields=["name", "job_mail"])
    return user

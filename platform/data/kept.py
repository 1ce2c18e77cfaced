"""How long what was deleted is kept, and what of it can still be brought back."""

from datetime import datetime, timedelta

from django.db.models import Q

from kit.clock import now

DAYS = 30


def restorable_since() -> datetime:
    """What was deleted after this moment can be brought back."""
    return now() - timedelta(days=DAYS)


def last_moment(deleted_at: datetime, expires_at: datetime | None) -> datetime:
    """When what was deleted is erased at the latest: after the days, or at a file's own expiry."""
    over = deleted_at + timedelta(days=DAYS)
    return over if expires_at is None else min(over, expires_at)


def restorable() -> Q:
    """Files or datasets that were deleted and can be brought back."""
    return Q(deleted_at__gt=restorable_since(), erased_at=None)


def restorable_files() -> Q:
    """The same for files, which may have an expiry of their own."""
    return restorable() & (Q(expires_at=None) | Q(expires_at__gt=now()))

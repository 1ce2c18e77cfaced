"""Announcements: those for a member, by a door function that keeps for whom they are; all of them, for staff."""

from dataclasses import dataclass
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from customers.limits import ANNOUNCEMENTS_SHOWN
from customers.models import Announcement


@dataclass(frozen=True, slots=True)
class Notice:
    """What a member sees of one."""

    id: UUID
    title: str
    text: str
    link: str


def notices(*, user_id: UUID, most: int | None = ANNOUNCEMENTS_SHOWN) -> list[Notice]:
    """What is announced to the scope's tenant now and this member has not dismissed, the latest first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, title, text, link FROM door_announcements(%s)", [user_id])
        return [Notice(*row) for row in cursor.fetchall()[:most]]


def announcements() -> "QuerySet[Announcement]":
    """All of them, the latest first, in the ops scope."""
    found: QuerySet[Announcement] = Announcement.ops.order_by("-starts_at", "-pk")
    return found

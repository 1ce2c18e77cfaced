"""Announcing something in the console, and taking it back. Staff write in the ops scope; members dismiss."""

import datetime as dt
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from django.db import transaction

from billing.plans import plan_book
from customers.limits import ANNOUNCEMENT
from customers.models import Announcement, Dismissal
from customers.selectors.announcements import notices
from customers.services.notes import clean_tag, clean_text
from kit.clock import now
from kit.errors import BadRequest, Conflict, NotFound
from tenants.scope import OPS
from tenants.services.organisations import clean_name


def announcement_make(
    *,
    title: str,
    text: str = "",
    link: str = "",
    plans: list[str] | None = None,
    tags: list[str] | None = None,
    starts_at: dt.datetime | None = None,
    ends_at: dt.datetime | None = None,
    by: str,
) -> Announcement:
    """Announce something to customers of these plans with any of these tags; empty: to all. BadRequest."""
    starts_at = starts_at or now()
    if ends_at is not None and ends_at <= max(starts_at, now()):
        raise BadRequest("It must end after it begins, and not in the past.", param="ends_at")
    unknown = sorted(set(plans or []) - {plan.code for plan in plan_book().offered()})
    if unknown:
        raise BadRequest(f"No plan is called {unknown[0][:40]}.", param="plans")
    row: Announcement = Announcement.ops.create(
        title=clean_name(title, param="title", limit=Announcement._meta.get_field("title").max_length or 0),
        text=clean_text(text, most=ANNOUNCEMENT) if text.strip() else "",
        link=_clean_link(link),
        plans=sorted(set(plans or [])),
        tags=sorted({clean_tag(tag) for tag in tags or []}),
        starts_at=starts_at,
        ends_at=ends_at,
        created_by=by,
    )
    return row


def _clean_link(raw: str) -> str:
    link = raw.strip()
    if not link:
        return ""
    try:
        parts = urlsplit(link)
    except ValueError:
        parts = urlsplit("")
    own = link.startswith("/") and not link.startswith("//")
    if len(link) > 300 or not link.isprintable() or " " in link or "\\" in link or not (own or _is_https(parts)):
        raise BadRequest("Give a path such as /docs/sweeps, or an https address.", param="link")
    return link


def _is_https(parts: SplitResult) -> bool:
    return parts.scheme == "https" and bool(parts.netloc)


def announcement_withdraw(*, announcement_id: UUID) -> Announcement:
    """Take it from every page. Conflict where it was."""
    with transaction.atomic(using=OPS):
        row = Announcement.ops.select_for_update().filter(pk=announcement_id).first()
        if row is None:
            raise NotFound.of(announcement_id)
        if row.withdrawn_at is not None:
            raise Conflict("It was withdrawn already.")
        Announcement.ops.filter(pk=row.pk).update(withdrawn_at=now())
    found: Announcement = row
    return found


def announcement_dismiss(*, announcement_id: UUID, user_id: UUID) -> None:
    """A member of the scope's tenant has read it. NotFound for one that does not stand on their pages."""
    if not any(one.id == announcement_id for one in notices(user_id=user_id, most=None)):
        raise NotFound.of(announcement_id)
    Dismissal.objects.get_or_create(announcement_id=announcement_id, user_id=user_id)

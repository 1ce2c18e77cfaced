"""What staff do for a customer: notes, tags, answers. Each is in the staff's log; an answer is in the tenant's too.

The words of notes and tags stay out of both logs: they are for staff alone, and the staff's log has no such wall."""

from typing import Any
from uuid import UUID

from customers.models import Message, Thread
from customers.services import announcements, notes, threads
from ops.services import Staff, acting_in, record
from tenants.models import Tenant


def note_add(*, tenant: Tenant, text: str, by: Staff) -> None:
    """Keep a note about a customer."""
    note = notes.note_add(tenant_id=tenant.pk, text=text, by=by.user.email)
    _record("customer.note_add", tenant, by, note=note.public_id)


def note_remove(*, tenant: Tenant, note_id: UUID, by: Staff) -> None:
    """Take a note off the customer's page."""
    note = notes.note_remove(tenant_id=tenant.pk, note_id=note_id, by=by.user.email)
    _record("customer.note_remove", tenant, by, note=note.public_id)


def tag_add(*, tenant: Tenant, name: str, by: Staff) -> None:
    """Give a customer a tag."""
    tag = notes.tag_add(tenant_id=tenant.pk, name=name, by=by.user.email)
    _record("customer.tag_add", tenant, by, tag=tag.public_id)


def tag_remove(*, tenant: Tenant, name: str, by: Staff) -> None:
    """Take a tag from a customer."""
    tag = notes.tag_remove(tenant_id=tenant.pk, name=name, by=by.user.email)
    _record("customer.tag_remove", tenant, by, tag=tag.public_id)


def _record(action: str, tenant: Tenant, by: Staff, **detail: str) -> None:
    record(action=action, target=tenant, by=by, tenant_id=tenant.pk, detail=detail)


def thread_answer(*, thread: Thread, text: str, by: Staff, enclosed: threads.Enclosed | None = None) -> Message:
    """Answer a customer; a mail goes to the members who wrote."""
    with acting_in(thread.tenant_id, by):
        message = threads.thread_answer(thread_id=thread.pk, text=text, by=by.user, enclosed=enclosed)
        record(action="support.answer", target=thread, by=by, tenant_id=thread.tenant_id)
    return message


def thread_solve(*, thread: Thread, by: Staff) -> None:
    """Close a thread; the customer opens it again by writing."""
    with acting_in(thread.tenant_id, by):
        threads.thread_solve(thread_id=thread.pk)
        record(action="support.solve", target=thread, by=by, tenant_id=thread.tenant_id)


def announce(*, values: dict[str, Any], by: Staff) -> None:
    """Announce something in the console."""
    row = announcements.announcement_make(**values, by=by.user.email)
    record(action="announcement.make", target=row, by=by, tenant_id=None)


def withdraw(*, announcement_id: UUID, by: Staff) -> None:
    """Take an announcement from every page."""
    row = announcements.announcement_withdraw(announcement_id=announcement_id)
    record(action="announcement.withdraw", target=row, by=by, tenant_id=None)

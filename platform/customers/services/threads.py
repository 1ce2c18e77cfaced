"""Support threads. Members and staff write through the tenant's own scope, so both sides are in its audit log."""

import datetime as dt
from dataclasses import dataclass
from uuid import UUID

from customers import limits, states
from customers.errors import ThreadFull, ThreadsFull
from customers.models import Attachment, Message, Seen, Thread
from customers.services.mailing import message_mail_ring
from customers.services.notes import clean_text
from data.services.files import Stored, clean_filename
from kit.clock import now
from kit.errors import BadRequest, Conflict, NotFound
from tenants import audit
from tenants.models import User
from tenants.services.organisations import clean_name, tenant_turn

HOUR = dt.timedelta(hours=1)
SUPPORT = "Support"
"""What a member of staff without a name is called."""


@dataclass(frozen=True, slots=True)
class Enclosed:
    """A file that comes with a message: its bytes are stored, and its name is as the browser sent it."""

    stored: Stored
    filename: str


def thread_open(*, subject: str, text: str, by: User, enclosed: Enclosed | None = None) -> Thread:
    """A question of the scope's tenant. BadRequest for its words, ThreadsFull while too many are not solved."""
    subject = clean_name(subject, param="subject", limit=limits.SUBJECT)
    text = clean_text(text, most=limits.TEXT)
    tenant_turn()
    if Thread.objects.exclude(state=Thread.State.SOLVED).count() >= limits.OPEN_THREADS:
        raise ThreadsFull(
            f"{limits.OPEN_THREADS} of your questions are not solved yet. Write in one of them, or close one."
        )
    _check_pace()
    thread: Thread = Thread.objects.create(subject=subject, opened_by=by, opened_label=by.email)
    audit.record(action="support.opened", target=thread)
    _write(thread, text, Message.Side.CUSTOMER, by, by.email, enclosed)
    return thread


def thread_ask(*, thread: Thread, text: str, by: User, enclosed: Enclosed | None = None) -> Message:
    """A member writes in a thread; a solved one is reopened. BadRequest, ThreadFull, Conflict at too quick a pace."""
    text = clean_text(text, most=limits.TEXT)
    tenant_turn()
    _check_pace()
    thread = _locked(thread.pk)
    message = _write(thread, text, Message.Side.CUSTOMER, by, by.email, enclosed)
    moved = message.created_at
    _move(thread, "asked", moved, asked_at=moved)
    return message


def thread_answer(*, thread_id: UUID, text: str, by: User, enclosed: Enclosed | None = None) -> Message:
    """Staff write in a thread of the scope's tenant; it then waits for the customer. BadRequest, ThreadFull,
    NotFound."""
    text = clean_text(text, most=limits.TEXT)
    thread = _locked(thread_id)
    message = _write(thread, text, Message.Side.STAFF, by, by.name or SUPPORT, enclosed)
    moved = message.created_at
    _move(thread, "answered", moved, answered_at=moved, staff_seen_at=moved)
    audit.record(action="support.answered", target=thread)
    return message


def thread_solve(*, thread_id: UUID) -> Thread:
    """Either side says that nothing is left to do. Conflict where it is solved already."""
    thread = _locked(thread_id)
    if thread.state == Thread.State.SOLVED:
        raise Conflict("The thread is solved already.")
    _move(thread, "solved", now())
    audit.record(action="support.solved", target=thread)
    return thread


def thread_seen(*, thread: Thread, user_id: UUID) -> None:
    """A member has a thread open: what staff wrote is news to them no more."""
    seen, made = Seen.objects.get_or_create(tenant_id=thread.tenant_id, thread=thread, user_id=user_id)
    if not made and thread.answered_at is not None and seen.at < thread.answered_at:
        Seen.objects.filter(pk=seen.pk).update(at=now())


def thread_seen_by_staff(*, thread: Thread) -> None:
    """Staff have a thread open. Runs in the ops scope and changes nothing that the tenant sees."""
    if thread.is_news_to_staff:
        Thread.ops.filter(pk=thread.pk).update(staff_seen_at=now())


def _locked(thread_id: UUID) -> Thread:
    thread = Thread.objects.select_for_update().filter(pk=thread_id).first()
    if thread is None:
        raise NotFound.of(thread_id)
    found: Thread = thread
    return found


def _check_pace() -> None:
    written = Message.objects.filter(side=Message.Side.CUSTOMER, created_at__gt=now() - HOUR).count()
    if written >= limits.MESSAGES_PER_HOUR:
        raise Conflict(
            f"Your organisation wrote {limits.MESSAGES_PER_HOUR} messages in the last hour, the most it can. "
            "Go on in a while."
        )


def _write(thread: Thread, text: str, side: Message.Side, by: User, label: str, enclosed: Enclosed | None) -> Message:
    if Message.objects.filter(thread=thread).count() >= limits.MESSAGES:
        raise ThreadFull(f"A thread holds {limits.MESSAGES} messages, and this one does. Open another.")
    message: Message = Message.objects.create(thread=thread, side=side, author=by, author_label=label, text=text)
    if enclosed is not None:
        _enclose(thread, message, enclosed)
    message_mail_ring(message)
    return message


def _enclose(thread: Thread, message: Message, enclosed: Enclosed) -> None:
    if enclosed.stored.bytes > limits.ATTACHMENT_BYTES:
        raise BadRequest(f"A file may have {limits.ATTACHMENT_BYTES:,} bytes.", param="attachment")
    if Attachment.objects.filter(message__thread=thread).count() >= limits.ATTACHMENTS:
        raise ThreadFull(
            f"A thread holds {limits.ATTACHMENTS} files, and this one does. Write without one, or open another thread.",
            param="attachment",
        )
    Attachment.objects.create(
        message=message,
        filename=clean_filename(enclosed.filename),
        bytes=enclosed.stored.bytes,
        sha256=enclosed.stored.sha256,
        storage_key=enclosed.stored.key,
    )


def _move(thread: Thread, event: states.Event, at: dt.datetime, **moments: dt.datetime) -> None:
    thread.state, thread.moved_at = states.after(thread.state, event), at
    for name, moment in moments.items():
        setattr(thread, name, moment)
    thread.save(update_fields=["state", "moved_at", *moments])

"""Reading support threads: as members see them, in the tenant's scope, and as staff do, in the ops scope."""

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from customers.models import Attachment, Message, Seen, Thread
from customers.states import FOR_STAFF
from kit.errors import NotFound
from kit.ids import parse_id


@dataclass(frozen=True, slots=True)
class Written:
    """A message with its files."""

    message: Message
    attachments: list[Attachment]


def threads(*, user_id: UUID, state: str = "") -> "QuerySet[Thread]":
    """The scope's threads, the latest news first; `unread` says whether staff wrote since this member looked."""
    rows = Thread.objects.annotate(unread=_news_to(user_id)).order_by("-moved_at", "-pk")
    found: QuerySet[Thread] = rows.filter(state=state) if state else rows
    return found


def unread_count(*, user_id: UUID) -> int:
    """Threads of the scope with an answer that this member has not seen."""
    return int(Thread.objects.filter(_news_to(user_id)).count())


def _news_to(user_id: UUID) -> Q:
    seen = Seen.objects.filter(thread=OuterRef("pk"), user_id=user_id, at__gte=OuterRef("answered_at"))
    return Q(answered_at__isnull=False) & ~Q(Exists(seen))


def thread_by_id(public_id: str) -> Thread:
    """One thread of the scope. NotFound."""
    thread = Thread.objects.filter(pk=parse_id(Thread.prefix, public_id)).first()
    if thread is None:
        raise NotFound.of(public_id)
    found: Thread = thread
    return found


def attachment_by_id(thread: Thread, public_id: str) -> Attachment:
    """A file of a thread of the scope. NotFound."""
    wanted = Attachment.objects.filter(message__thread=thread, pk=parse_id(Attachment.prefix, public_id))
    row = wanted.first()
    if row is None:
        raise NotFound.of(public_id)
    found: Attachment = row
    return found


def messages(thread: Thread) -> list[Written]:
    """What was written in it, the oldest first, by whichever door the thread came in."""
    db = thread._state.db or "default"
    rows = Message._base_manager.using(db).filter(tenant_id=thread.tenant_id, thread=thread)
    files: dict[UUID, list[Attachment]] = {}
    enclosed = Attachment._base_manager.using(db).filter(tenant_id=thread.tenant_id, message__thread=thread)
    for one in enclosed.order_by("created_at"):
        files.setdefault(one.message_id, []).append(one)
    return [Written(row, files.get(row.pk, [])) for row in rows.order_by("created_at", "pk")]


def desk(*, state: str = "", tenant_id: UUID | None = None) -> "QuerySet[Thread]":
    """Every customer's threads, for staff: what waits for them first, longest wait first, then the latest. `state` may
    be "staff" for all that wait for them."""
    rows = Thread.ops.select_related("tenant")
    if tenant_id is not None:
        rows = rows.filter(tenant_id=tenant_id)
    if state == "staff":
        rows = rows.filter(state__in=FOR_STAFF)
    elif state:
        rows = rows.filter(state=state)
    ordered: QuerySet[Thread] = rows.annotate(waits=Q(state__in=FOR_STAFF)).order_by("-waits", F("moved_at").desc())
    if state == "staff":
        ordered = rows.order_by("moved_at", "pk")
    return ordered


def thread_for_staff(thread_id: UUID) -> Thread:
    """One customer's thread, in the ops scope. NotFound."""
    thread = Thread.ops.select_related("tenant").filter(pk=thread_id).first()
    if thread is None:
        raise NotFound.of(thread_id)
    found: Thread = thread
    return found


def attachment_for_staff(thread_id: UUID, attachment_id: UUID) -> Attachment:
    """A file of a customer's thread, in the ops scope. NotFound."""
    row = Attachment.ops.filter(pk=attachment_id, message__thread=thread_id).first()
    if row is None:
        raise NotFound.of(attachment_id)
    found: Attachment = row
    return found

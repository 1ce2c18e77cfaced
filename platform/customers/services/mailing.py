"""Mail about support threads, to the side that did not write.

Each goes once to each address. It is noted as sent first and sent after that, so that a worker which dies in between
leaves a mail out and never sends one twice; a mail server that refuses is asked again.
"""

import hashlib
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from customers.models import Letter, Message
from kit import outbox
from tenants.models import Member
from tenants.scope import tenant_scope

MAIL = "customers.message_mail"
SHOWN = 2_000
"""Characters of a message that a mail repeats."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A mail to one address. `about` names the one thing that it tells, within the tenant."""

    kind: str
    about: str
    address: str
    subject: str
    body: str
    headers: dict[str, str]

    @property
    def key(self) -> str:
        """What makes the mail one of a kind; the address is not to be read from it."""
        return f"{self.kind}:{self.about}:{hashlib.sha256(self.address.lower().encode()).hexdigest()[:24]}"


def message_mail_ring(message: Message) -> None:
    """Tell the other side after the commit."""
    outbox.ring(MAIL, str(message.tenant_id), str(message.pk))


def message_mail(*, tenant_id: UUID, message_id: UUID) -> int:
    """Send what there is to say of a message; how many mails went. OSError where the mail server refuses."""
    with tenant_scope(tenant_id):
        message = Message.objects.select_related("thread", "tenant").filter(pk=message_id).first()
        drafts = [] if message is None else _drafts(message)
    return sum(letter_send(tenant_id=tenant_id, draft=draft) for draft in drafts)


def letter_send(*, tenant_id: UUID, draft: Draft) -> bool:
    """Send a mail unless it was sent; whether it went now. OSError where the mail server refuses."""
    with tenant_scope(tenant_id):
        try:
            with transaction.atomic():
                letter = Letter.objects.create(kind=draft.kind, key=draft.key)
        except IntegrityError:
            return False
    try:
        EmailMessage(draft.subject, draft.body, None, [draft.address], headers=draft.headers).send()
    except OSError:  # smtplib's errors and time-outs are all OSErrors
        with tenant_scope(tenant_id):
            Letter.objects.filter(pk=letter.pk).delete()
        raise
    return True


def _drafts(message: Message) -> list[Draft]:
    thread = message.thread
    if message.side == Message.Side.STAFF:
        link = f"{settings.BASE_URL}/o/{message.tenant.slug}/support/{thread.public_id}/"
        subject = _("Answer: %s") % thread.subject
        head = _("%(name)s answered in “%(subject)s”:") % {"name": message.author_label, "subject": thread.subject}
        why = _("You get this mail because you wrote in this thread. Answer on its page: mail to us is not read there.")
        addresses = _writers(message)
    else:
        link = f"{settings.BASE_URL}/staff/support/{thread.pk}/"
        subject = f"[Tunesmith] {thread.subject}"
        values = {"name": message.author_label, "organisation": message.tenant.name, "subject": thread.subject}
        head = _("%(name)s of %(organisation)s wrote in “%(subject)s”:") % values
        why = _("You get this mail because your address stands in SUPPORT_MAIL.")
        addresses = list(settings.SUPPORT_MAIL)
    text = message.text if len(message.text) <= SHOWN else f"{message.text[:SHOWN]}…"
    body = "\n\n".join([head, text, link, why]) + "\n"
    headers = {"Auto-Submitted": "auto-generated"}
    return [Draft("support", message.public_id, address, subject, body, headers) for address in addresses]


def _writers(message: Message) -> list[str]:
    """Members, still, who wrote in the thread."""
    wrote = Message.objects.filter(thread=message.thread_id, side=Message.Side.CUSTOMER).values("author_id")
    seats = Member.objects.filter(user_id__in=wrote, user__is_active=True)
    return list(seats.order_by("created_at").values_list("user__email", flat=True))

"""Mail of orders: news of the timeline to the other side, the link to a quote, and the copies of an acceptance.

Plain text. A mail server that refuses raises OSError, and the task that sends is asked again.
"""

import logging
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMessage
from django.utils.translation import gettext as _

from orders import states
from orders.document import cents
from orders.models import Acceptance, Contract, OrderEvent, QuoteLink
from orders.words import words_of
from tenants.models import Project
from tenants.scope import tenant_scope
from tenants.selectors import tenant_current

logger = logging.getLogger(__name__)


def ours() -> list[str]:
    """Who of us hears of orders."""
    return list(settings.ORDERS_MAIL) or [settings.DEFAULT_FROM_EMAIL]


def event_mail(*, tenant_id: UUID, event_id: UUID) -> int:
    """Tell the other side of an entry; what the system says goes to both. How many mails."""
    with tenant_scope(tenant_id):
        event = OrderEvent.objects.select_related("order").filter(pk=event_id).first()
        if event is None:
            return 0
        order, organisation = event.order, tenant_current()
        project = Project.objects.filter(pk=order.project_id).first()
        said = words_of(event)
        subject = f"{order.title}: {said.heading}"
        body = "\n\n".join(part for part in (said.heading, said.text) if part)
    link = f"{settings.BASE_URL}/o/{organisation.slug}/p/{project.slug}/orders/{order.public_id}/" if project else ""
    desk = f"{settings.BASE_URL}{settings.STAFF_PATH}orders/order/{order.pk}/change/"
    sent = 0
    if event.side != states.CUSTOMER:
        sent += _send([order.contact], subject, f"{body}\n\n{link}\n")
    if event.side != states.STAFF:
        sent += _send(ours(), f"[{organisation.name}] {subject}", f"{body}\n\n{desk}\n")
    return sent


def link_mail(*, tenant_id: UUID, link_id: UUID, token: str) -> bool:
    """Mail the way to a quote; False when the mail server refused, which the page then says. Not in a transaction."""
    with tenant_scope(tenant_id):
        link = QuoteLink.objects.select_related("revision__quote__order").get(pk=link_id)
        revision, organisation = link.revision, tenant_current().name
        facts = {
            "title": revision.quote.order.title,
            "organisation": organisation,
            "total": cents(revision.total_cents),
            "day": f"{revision.valid_until:%-d %B %Y}",
        }
    text = _(
        "Our quote for %(title)s, made for %(organisation)s: %(total)s, valid until %(day)s. Read and accept it here. "
        "The link is for you, needs no account, and works once:"
    )
    body = f"{text % facts}\n{settings.BASE_URL}/quotes/{token}\n"
    try:
        _send([link.email], _("Quote for %(title)s") % facts, body)
    except OSError:  # smtplib's errors and time-outs are all OSErrors
        logger.exception("the link to a quote could not be mailed")
        return False
    return True


def acceptance_mail(*, tenant_id: UUID, acceptance_id: UUID) -> int:
    """The copy of what was accepted, with the document, to whoever accepted, the order's contact and us."""
    with tenant_scope(tenant_id):
        made = Acceptance.objects.select_related("revision__quote__order").filter(pk=acceptance_id).first()
        if made is None:
            return 0
        revision, organisation = made.revision, tenant_current().name
        quote, contract = revision.quote, Contract.objects.get(acceptance=made)
        lines = [
            _("%(name)s, %(title)s, accepted quote %(quote)s for %(organisation)s.")
            % {"name": made.name, "title": made.title, "quote": quote.number, "organisation": organisation},
            "",
            f"{_('Order')}: {quote.order.title}",
            f"{_('Contract')}: {contract.number}",
            f"{_('Total')}: {cents(revision.total_cents)}",
            f"{_('Deposit')}: {cents(revision.deposit_cents)}",
            f"{_('Purchase order')}: {made.purchase_order or '–'}",
            f"{_('Accepted at')}: {made.at:%Y-%m-%d %H:%M:%S} UTC",
            f"{_('From')}: {made.ip or '–'}",
            f"{_('SHA-256 of the document')}: {made.document_sha256}",
        ]
    attached = (f"{quote.number}-{revision.number}.pdf", bytes(revision.document), "application/pdf")
    subject = _("Accepted: quote %(quote)s") % {"quote": quote.number}
    people = list(dict.fromkeys([made.email, quote.order.contact]))
    return sum(_send([one], subject, "\n".join(lines) + "\n", attached) for one in people) + _send(
        ours(), f"[{organisation}] {subject}", "\n".join(lines) + "\n", attached
    )


def _send(to: list[str], subject: str, body: str, attached: tuple[str, bytes, str] | None = None) -> int:
    message = EmailMessage(" ".join(subject.split())[:200], body, None, to)
    if attached is not None:
        message.attach(*attached)
    return message.send()

"""Accepting a quote by its link, without an account: looked up through a door function, then in the tenant's scope."""

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.db import connection

from billing.services.locks import money_lock
from data.services.files import Stored
from kit import outbox
from kit.clock import now
from kit.errors import BadRequest
from orders import states
from orders.errors import LinkGone, QuoteRefused
from orders.models import Acceptance, Order, Quote, QuoteLink, QuoteRevision
from orders.services.closing import links_revoke
from orders.services.contracts import Actor, contract_make
from orders.services.purchase_orders import purchase_order_add
from orders.services.quotes import hash_of
from orders.services.timeline import LETTERS, order_lock, step
from tenants import audit
from tenants.currency import paid_in
from tenants.scope import tenant_scope

LONGEST_PO = 30
"""As much as a field of an invoice holds."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a link leads to."""

    order: Order
    quote: Quote
    revision: QuoteRevision
    link: QuoteLink
    lines: list[Any]
    currency: str
    """What its organisation pays in."""


def link_find(token: str) -> tuple[UUID, UUID]:
    """(tenant id, link id) behind a token that can still accept; LinkGone for every other one, in the same words."""
    if not 20 <= len(token) <= 100 or not token.isascii():
        raise LinkGone
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id, link_id FROM door_quote_link(%s)", [hash_of(token)])
        row = cursor.fetchone()
    if row is None:
        raise LinkGone
    return row[0], row[1]


def offer_peek(token: str) -> Offer:
    """What can be accepted, for the page that shows it. LinkGone."""
    tenant_id, link_id = link_find(token)
    with tenant_scope(tenant_id):
        return _offer(QuoteLink.objects.get(pk=link_id))


def _offer(link: QuoteLink) -> Offer:
    revision = QuoteRevision.objects.select_related("quote", "quote__order").get(pk=link.revision_id)
    quote = revision.quote
    lines = list(revision.lines.order_by("position"))
    return Offer(quote.order, quote, revision, link, lines, paid_in())


def offer_accept(
    *,
    token: str,
    name: str,
    title: str,
    purchase_order: str = "",
    sha256: str,
    ip: str | None = None,
    document: tuple[Stored, str] | None = None,
) -> Acceptance:
    """Accept what the page showed: `sha256` is of the document that was read. Once; LinkGone afterwards.

    `document` is the purchase order that came along, stored, and its name. Makes the contract, its milestones and the
    deposit's invoice in the same transaction. What Stripe and the mail server have to do follows it.
    """
    tenant_id, link_id = link_find(token)
    with tenant_scope(tenant_id):
        money_lock(tenant_id)
        found = _locked(link_id)
        if sha256 != found.revision.sha256:
            raise QuoteRefused("The document is not the one that was shown. Open the link again and read it anew.")
        made: Acceptance = Acceptance.objects.create(
            revision=found.revision,
            link=found.link,
            name=_line(name, "your name", "name"),
            title=_line(title, "your position", "title"),
            email=found.link.email,
            purchase_order=_line(purchase_order, "the purchase order", "purchase_order", least=0, most=LONGEST_PO),
            document_sha256=found.revision.sha256,
            ip=ip,
            at=now(),
        )
        found.link.used_at = made.at
        found.link.save(update_fields=["used_at"])
        links_revoke(quote=found.quote)
        found.quote.state = Quote.State.ACCEPTED
        found.quote.save(update_fields=["state"])
        actor = ("link", found.link.public_id, f"{made.name} <{found.link.email}>")
        _told(found, made, actor)
        contract_make(order=found.order, revision=found.revision, acceptance=made, actor=actor)
        if document is not None:
            stored, filename = document
            purchase_order_add(order=found.order, stored=stored, filename=filename, by=made.name, actor=actor)
        outbox.ring(LETTERS, str(tenant_id), str(made.pk))
        return made


def _locked(link_id: UUID) -> Offer:
    """What a link leads to, with its order, quote and link locked. LinkGone where it leads nowhere by now."""
    found = _offer(QuoteLink.objects.get(pk=link_id))
    order = order_lock(found.order)
    quote = Quote.objects.select_for_update().get(pk=found.quote.pk)
    link = QuoteLink.objects.select_for_update().get(pk=link_id)
    gone = link.used_at or link.revoked_at or link.expires_at <= now()
    if gone or quote.state != Quote.State.SENT or quote.revision != found.revision.number:
        raise LinkGone
    return replace(found, order=order, quote=quote, link=link)


def _told(found: Offer, made: Acceptance, actor: Actor) -> None:
    """The acceptance in the timeline and in the log."""
    detail = {
        "quote": found.quote.number,
        "revision": found.revision.number,
        "total_cents": found.revision.total_cents,
        "name": made.name,
        "title": made.title,
        "purchase_order": made.purchase_order,
        "sha256": found.revision.sha256,
    }
    step(
        order=found.order,
        name="accept",
        side=states.CUSTOMER,
        kind="quote.accepted",
        who=made.name,
        detail=detail,
        actor=actor,
        mail=False,
    )
    audit.record(action="quote.accepted", target=found.order, after={**detail, "ip": made.ip}, actor=actor)


def acceptance_of(tenant_id: UUID, acceptance_id: UUID) -> tuple[Acceptance, Offer]:
    """What somebody has just accepted, for the browser that did."""
    with tenant_scope(tenant_id):
        made = Acceptance.objects.select_related("link").get(pk=acceptance_id)
        return made, _offer(made.link)


def _line(text: str, what: str, param: str, *, least: int = 1, most: int = 120) -> str:
    kept = " ".join(text.split())
    if not least <= len(kept) <= most or not kept.isprintable():
        size = f"at most {most} characters" if kept else "something"
        raise BadRequest(f"Enter {what}: {size}." if least else f"Enter {what} in {size}.", param=param)
    return kept

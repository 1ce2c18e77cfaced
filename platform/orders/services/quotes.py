"""Writing a quote, having its discount approved, sending it, taking it back. Staff's side; run in the tenant's scope.

A revision is kept with its document and never changes: another wording is another revision, and what was sent before
can no longer be accepted.
"""

import datetime as dt
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from kit.clock import now
from kit.errors import BadRequest, RateLimited
from kit.ids import encode
from orders import papers, pricing, states
from orders.document import cents, percent, quote_document
from orders.errors import AmountRefused, ApprovalNeeded, QuoteRefused
from orders.models import Approval, Order, Quote, QuoteLine, QuoteLink, QuoteRevision
from orders.pricing import Line
from orders.services.closing import links_revoke
from orders.services.timeline import order_lock, say, step, tidy
from tenants import audit
from tenants.scope import ops_scope
from tenants.selectors import tenant_current

LONGEST_VALID = 180
MOST_REVISIONS = 50
MOST_MILESTONES = 12
LINKS_PER_HOUR = 20
MEASURED = ("macro_f1", "accuracy", "perplexity", "token_accuracy")
"""Figures of a report that a milestone may ask for."""


@dataclass(frozen=True, slots=True)
class Part:
    """A milestone as it is offered: `least` is what `metric` must reach on held-out rows, where one is named."""

    title: str
    days: int
    metric: str = ""
    least: float | None = None


@dataclass(frozen=True, slots=True)
class Author:
    """Who of staff."""

    id: str
    label: str


def revision_create(
    *,
    order: Order,
    author: Author,
    scope: str,
    lines: Sequence[Line],
    parts: Sequence[Part],
    discount_bp: int = 0,
    deposit_bp: int = 3_000,
    valid_days: int = 30,
    net_days: int = 30,
    warranty_days: int = 90,
    reason: str = "",
) -> QuoteRevision:
    """A new revision; the order's quote begins with the first. AmountRefused, BadRequest, or StepRefused once a quote
    was accepted. What was sent before is taken back."""
    row = order_lock(order)
    if row.state == states.QUOTED:
        _withdraw(row, reason=reason, mail=False)
    elif row.state != states.QUOTING:
        step(order=row, name="start_quote", side=states.STAFF, kind="quote.started", reason=reason, mail=False)
    quote = Quote.objects.select_for_update().filter(order=row).first() or _quote_new(row)
    if quote.revision >= MOST_REVISIONS:
        raise QuoteRefused(f"A quote has at most {MOST_REVISIONS} revisions.")
    sums = pricing.sums_of(lines, discount_bp=discount_bp, deposit_bp=deposit_bp)
    checked = [pricing.check_line(line) for line in lines]
    terms, dpa = papers.current("terms"), papers.current("dpa")
    moment = now()
    revision = QuoteRevision(
        tenant_id=row.tenant_id,
        quote=quote,
        number=quote.revision + 1,
        customer=tenant_current().name,
        scope=tidy(scope, least=20, most=6_000, what="What is made", param="scope"),
        milestones=_milestones(parts, sums.rest),
        subtotal_cents=sums.subtotal,
        discount_bp=discount_bp,
        discount_cents=sums.discount,
        total_cents=sums.total,
        deposit_bp=deposit_bp,
        deposit_cents=sums.deposit,
        net_days=_days(net_days, 1, 90, "The days to pay", "net_days"),
        valid_until=moment.date() + dt.timedelta(days=_days(valid_days, 1, LONGEST_VALID, "Validity", "valid_days")),
        warranty_days=_days(warranty_days, 0, 1_095, "The warranty", "warranty_days"),
        terms_version=terms.version,
        terms_sha256=terms.sha256,
        dpa_version=dpa.version,
        dpa_sha256=dpa.sha256,
        author_id=author.id,
        author=author.label,
        created_at=moment,
    )
    revision.document = quote_document(
        revision, checked, quote_number=quote.number, title=row.title, order_id=row.public_id
    )
    revision.sha256 = hashlib.sha256(revision.document).hexdigest()
    revision.save(force_insert=True)
    _lines_save(revision, checked)
    quote.revision, quote.state, quote.expires_at = revision.number, Quote.State.DRAFT, None
    quote.save(update_fields=["revision", "state", "expires_at"])
    after = {"quote": quote.number, "revision": revision.number, "total_cents": sums.total, "sha256": revision.sha256}
    audit.record(action="quote.revised", target=row, after=after, reason=reason)
    return revision


def _lines_save(revision: QuoteRevision, lines: Sequence[Line]) -> None:
    for position, line in enumerate(lines):
        QuoteLine.objects.create(
            revision=revision,
            position=position,
            description=line.description,
            quantity=line.quantity,
            unit_cents=line.unit_cents,
            amount_cents=line.cents,
        )


def _quote_new(order: Order) -> Quote:
    made: Quote = Quote.objects.create(order=order, number=f"Q-{now():%Y}-{encode(order.pk)[-8:].upper()}")
    return made


def _milestones(parts: Sequence[Part], rest: int) -> list[dict[str, Any]]:
    """What is left after the deposit in equal parts, each with its criterion."""
    if not 1 <= len(parts) <= MOST_MILESTONES:
        raise BadRequest(f"Name 1 to {MOST_MILESTONES} milestones.", param="parts")
    made = []
    for part, share in zip(parts, pricing.parts_of(rest, len(parts)), strict=True):
        title = " ".join(part.title.split())
        if not 1 <= len(title) <= 120 or not title.isprintable():
            raise BadRequest("A milestone needs a title of at most 120 characters.", param="parts")
        if part.metric and part.metric not in MEASURED:
            raise BadRequest(f"'{part.metric[:40]}' is not measured. Use one of {', '.join(MEASURED)}.", param="parts")
        if bool(part.metric) != (part.least is not None) or (part.least is not None and not 0 < part.least < 10**6):
            raise BadRequest(f"'{title}': name a figure together with the value it must reach.", param="parts")
        days = _days(part.days, 1, 1_000, f"'{title}'", "parts")
        made.append({"title": title, "days": days, "metric": part.metric, "least": part.least, "cents": share})
    return made


def _days(value: object, least: int, most: int, what: str, param: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise AmountRefused(f"{what} must be a whole number of days from {least} to {most:,}.", param=param)
    return value


def revision_approve(*, quote: Quote, by: Author, reason: str) -> Approval:
    """A second person agrees to the newest revision's discount. ApprovalNeeded for its author, QuoteRefused where there
    is nothing to approve."""
    order_lock(quote.order)
    revision = newest(quote)
    if quote.state != Quote.State.DRAFT:
        raise QuoteRefused("Only a draft is approved; this quote was sent already.")
    if not pricing.needs_approval(revision.discount_bp):
        raise QuoteRefused(
            f"A discount of up to {percent(pricing.FREE_DISCOUNT)} needs no approval; this one is "
            f"{percent(revision.discount_bp)}."
        )
    if revision.author_id == by.id:
        raise ApprovalNeeded("Somebody else has to approve: you wrote this revision.")
    found = Approval.objects.filter(revision=revision, by_id=by.id).first()
    if found is not None:
        return found
    made: Approval = Approval.objects.create(revision=revision, by_id=by.id, by=by.label, reason=reason[:300])
    audit.record(
        action="quote.approved", target=quote.order, after={"revision": revision.number, "by": by.label}, reason=reason
    )
    return made


def quote_send(*, quote: Quote, email: str, by: str, reason: str = "") -> tuple[QuoteLink, str]:
    """Offer the newest revision to a person; the link with its plaintext token, which exists only in the mail.

    ApprovalNeeded while a second person has not agreed to a large discount; QuoteRefused when it is no longer valid.
    """
    order = order_lock(quote.order)
    quote = Quote.objects.select_for_update().get(pk=quote.pk)
    revision = newest(quote)
    if quote.state not in (Quote.State.DRAFT, Quote.State.SENT):
        raise QuoteRefused(f"The quote is {quote.get_state_display().lower()}. Write a new revision to offer it again.")
    if pricing.needs_approval(revision.discount_bp) and not revision.approvals.exists():
        raise ApprovalNeeded(
            f"A discount of {percent(revision.discount_bp)} is more than {percent(pricing.FREE_DISCOUNT)}: a second "
            "person has to approve this revision first."
        )
    expires = expiry_of(revision)
    if expires <= now():
        raise QuoteRefused("This revision is no longer valid. Write a new one.")
    first = quote.state == Quote.State.DRAFT
    if first:
        quote.state, quote.expires_at = Quote.State.SENT, expires
        quote.save(update_fields=["state", "expires_at"])
    detail = {"quote": quote.number, "revision": revision.number, "total_cents": revision.total_cents}
    if first:
        text = f"{cents(revision.total_cents)}, valid until {revision.valid_until:%-d %B %Y}"
        step(
            order=order,
            name="send_quote",
            side=states.STAFF,
            kind="quote.sent",
            text=text,
            detail=detail,
            reason=reason,
            mail=False,
        )
    return link_create(quote=quote, email=email, by=by)


def link_create(*, quote: Quote, email: str, by: str, side: str = states.STAFF) -> tuple[QuoteLink, str]:
    """Another person's way to the acceptance page of what was sent, with its plaintext token."""
    email = email.strip()
    try:
        validate_email(email)
    except ValidationError as error:
        raise BadRequest("Enter an e-mail address, for example ada@example.com.", param="email") from error
    if quote.state != Quote.State.SENT or quote.expires_at is None or quote.expires_at <= now():
        raise QuoteRefused("There is no quote that could be accepted now.")
    hour = now() - dt.timedelta(hours=1)
    if QuoteLink.objects.filter(created_at__gte=hour).count() >= LINKS_PER_HOUR:
        raise RateLimited(f"{LINKS_PER_HOUR} links an hour is the limit. Try again in an hour.")
    revision = newest(quote)
    QuoteLink.objects.filter(revision=revision, email__iexact=email, used_at=None, revoked_at=None).update(
        revoked_at=now()
    )
    token = secrets.token_urlsafe(32)
    made: QuoteLink = QuoteLink.objects.create(
        revision=revision, email=email, token_hash=hash_of(token), created_by=by[:254], expires_at=quote.expires_at
    )
    say(order=quote.order, kind="quote.link", side=side, who=by, detail={"email": email}, mail=False)
    audit.record(action="quote.link_created", target=quote.order, after={"email": email, "revision": revision.number})
    return made, token


def quote_withdraw(*, quote: Quote, reason: str, text: str = "") -> Quote:
    """Take back what was sent: its links stop working at once."""
    order = order_lock(quote.order)
    said = tidy(text, least=0, most=1_000, what="What the customer reads", param="text")
    _withdraw(order, reason=reason, text=said)
    quote.refresh_from_db()
    return quote


def _withdraw(order: Order, *, reason: str, text: str = "", mail: bool = True) -> None:
    step(
        order=order,
        name="withdraw_quote",
        side=states.STAFF,
        kind="quote.withdrawn",
        text=text,
        reason=reason,
        mail=mail,
    )
    quote = Quote.objects.select_for_update().get(order=order)
    links_revoke(quote=quote)
    quote.state = Quote.State.WITHDRAWN
    quote.save(update_fields=["state"])


def quote_expire(*, quote: Quote) -> bool:
    """What nobody accepted in time goes back to the desk; False where somebody was quicker. Safe to run twice."""
    order = order_lock(quote.order)
    row = Quote.objects.select_for_update().get(pk=quote.pk)
    if row.state != Quote.State.SENT or row.expires_at is None or row.expires_at > now():
        return False
    links_revoke(quote=row)
    row.state = Quote.State.EXPIRED
    row.save(update_fields=["state"])
    detail = {"quote": row.number, "revision": row.revision}
    step(order=order, name="withdraw_quote", side=states.SYSTEM, kind="quote.expired", detail=detail)
    return True


def quotes_due() -> list[tuple[Any, Any]]:
    """(tenant id, quote id) of what was sent and can no longer be accepted."""
    with ops_scope("quotes that have expired"):
        due = Quote.ops.filter(state=Quote.State.SENT, expires_at__lte=now()).order_by("expires_at")
        return list(due.values_list("tenant_id", "pk")[:500])


def newest(quote: Quote) -> QuoteRevision:
    """The revision that counts."""
    found: QuoteRevision = QuoteRevision.objects.get(quote=quote, number=quote.revision)
    return found


def expiry_of(revision: QuoteRevision) -> dt.datetime:
    """The end of its last day, in UTC."""
    return dt.datetime.combine(revision.valid_until, dt.time(), dt.UTC) + dt.timedelta(days=1)


def hash_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()

"""Routes of orders: the API, the pages, and what has no tenant in its address."""

import secrets
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile

from billing.selectors.features import CUSTOM_ORDERS
from billing.services.entitlements import override_set
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.isolation.routes import Ids, Policy

WORK = "o/<slug:org>/p/<slug:project>/"
TOLD_APART = Policy("public", success={})
"""Held by a secret token, or the name of a paper; tests of their own cover them."""
BRIEF = {
    "title": "Ticket triage",
    "task": "classification",
    "brief": "Sort support tickets in four languages by what they are about.",
    "contact": "ada@example.com",
}
LINES = (("Labelling and checks", 5_000, 40), ("Training and tuning", 1, 900_000))


def granted(person: Person) -> Ids:
    """The plan's feature, and nothing else."""
    with tenant_scope(person.tenant.id):
        override_set(features=[CUSTOM_ORDERS], reason="tests", created_by="tests")
    return {}


def an_order(person: Person, **changes: Any) -> Any:
    """A brief that was sent; others are over, so that there is always room."""
    from orders.models import Order
    from orders.services import order_create

    granted(person)
    with tenant_scope(person.tenant.id):
        Order.objects.filter(state="submitted").update(state="cancelled")
        return order_create(project=person.project, by=person.user.email, **{**BRIEF, **changes})


def a_quote(person: Person, order: Any = None, *, email: str = "buyer@example.com", **terms: Any) -> Any:
    """A quote that was sent: (order, quote, token)."""
    from orders.models import QuoteLink
    from orders.pricing import Line
    from orders.services import Author, Part, quote_send, revision_create

    order = order or an_order(person)
    parts = [Part("Model that meets the figure", 30, "macro_f1", 0.8), Part("Hand-over", 45)]
    with tenant_scope(person.tenant.id):
        QuoteLink.objects.all().delete() if terms.pop("fresh", False) else None
        revision = revision_create(
            order=order,
            author=Author("1", "writer@example.com"),
            scope="A classifier for support tickets in four languages.",
            lines=[Line(*line) for line in LINES],
            parts=parts,
            **terms,
        )
        quote = revision.quote
        _link, token = quote_send(quote=quote, email=email, by="tests")
        order.refresh_from_db()
        return order, quote, token


def _order(person: Person) -> Ids:
    return {"order": an_order(person).public_id}


def _quoted(person: Person) -> Ids:
    _room(person)
    return {"order": a_quote(person)[0].public_id}


def _room(person: Person) -> None:
    """The hour's links are counted by their rows; those of other tries are older."""
    import datetime as dt

    from kit.clock import now
    from orders.models import QuoteLink

    with tenant_scope(person.tenant.id):
        QuoteLink.objects.update(created_at=now() - dt.timedelta(hours=2))


def accepted(person: Person, **terms: Any) -> Any:
    """An order whose quote was accepted."""
    from orders.services import offer_accept, offer_peek

    _room(person)
    order, _quote, token = a_quote(person, **terms)
    offer = offer_peek(token)
    offer_accept(token=token, name="Bea Buyer", title="Head of IT", purchase_order="PO-7", sha256=offer.revision.sha256)
    with tenant_scope(person.tenant.id):
        order.refresh_from_db()
    return order


def _delivered(person: Person) -> Ids:
    from orders.models import Milestone

    order = accepted(person, deposit_bp=0)
    with tenant_scope(person.tenant.id):
        one = Milestone.objects.filter(contract__order=order).order_by("position").first()
        Milestone.objects.filter(pk=one.pk).update(state="delivered", model="ft:made")
        return {"order": order.public_id, "milestone": one.public_id}


PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF\n"


def purchase_order(name: str = "po.pdf", content: bytes = PDF) -> SimpleUploadedFile:
    """A document to send."""
    return SimpleUploadedFile(name, content, "application/pdf")


def _accepted(person: Person) -> Ids:
    return {"order": accepted(person).public_id}


def _with_document(person: Person) -> Ids:
    from data.services import file_store
    from orders.services import purchase_order_add

    order = accepted(person)
    stored = file_store(tenant_id=person.tenant.id, chunks=[PDF], limit=1_000)
    with tenant_scope(person.tenant.id):
        made = purchase_order_add(order=order, stored=stored, filename="po.pdf", by="tests")
        return {"order": order.public_id, "document": made.public_id}


def all_delivered(person: Person) -> Any:
    """An order of which everything was accepted, so that its warranty runs."""
    from orders.models import Milestone
    from orders.services import milestone_accept

    order = accepted(person, deposit_bp=0)
    with tenant_scope(person.tenant.id):
        Milestone.objects.filter(contract__order=order).update(state="delivered", model="ft:made")
        for one in Milestone.objects.filter(contract__order=order):
            milestone_accept(milestone=one, by=person.user.email)
        order.refresh_from_db()
        return order


def _new(person: Person) -> Ids:
    an_order(person)
    return {}


def brief(ids: Ids) -> dict[str, Any]:
    """A body, and each time another one: a create that was repeated answers as the first did."""
    return {**BRIEF, "title": f"Triage {secrets.token_hex(4)}"}


POLICIES: dict[str, Policy] = {
    "v1/orders": Policy("api", success={"GET": 200, "POST": 200}, make=_new, bodies={"POST": brief}),
    "v1/orders/<str:order>": Policy("api", success={"GET": 200}, make=_order),
    "v1/orders/<str:order>/cancel": Policy("api", success={"POST": 200}, make=_order),
    "v1/orders/<str:order>/events": Policy(
        "api", success={"GET": 200, "POST": 200}, make=_order, bodies={"POST": lambda ids: {"text": "Hello"}}
    ),
    f"{WORK}orders/": Policy("page", success={"GET": 200}, make=_new),
    f"{WORK}orders/new": Policy("page", success={"GET": 200, "POST": 302}, make=_new, bodies={"POST": brief}),
    f"{WORK}orders/<str:order>/": Policy("page", success={"GET": 200}, make=_order),
    f"{WORK}orders/<str:order>/message": Policy(
        "page", success={"GET": 404, "POST": 302}, make=_order, bodies={"POST": lambda ids: {"text": "Hello"}}
    ),
    f"{WORK}orders/<str:order>/samples": Policy("page", success={"GET": 404, "POST": 422}, make=_order),
    f"{WORK}orders/<str:order>/link": Policy(
        "page",
        success={"GET": 404, "POST": 302},
        make=_quoted,
        bodies={"POST": lambda ids: {"email": "cfo@example.com"}},
    ),
    f"{WORK}orders/<str:order>/cancel": Policy("page", success={"POST": 302}, make=_order),
    f"{WORK}orders/<str:order>/quote.pdf": Policy("page", success={"GET": 200}, make=_quoted),
    f"{WORK}orders/<str:order>/purchase-orders": Policy(
        "page",
        success={"GET": 404, "POST": 302},
        make=_accepted,
        bodies={"POST": lambda ids: {"document": purchase_order()}},
    ),
    f"{WORK}orders/<str:order>/purchase-orders/<str:document>": Policy(
        "page", success={"GET": 200}, make=_with_document
    ),
    f"{WORK}orders/<str:order>/retrain": Policy(
        "page",
        success={"GET": 404, "POST": 302},
        make=lambda person: {"order": all_delivered(person).public_id},
        bodies={"POST": lambda ids: {"text": "It mixes up two queues since last week."}},
    ),
    f"{WORK}orders/<str:order>/milestones/<str:milestone>": Policy("page", success={"POST": 302}, make=_delivered),
    "quotes/<str:token>": TOLD_APART,
    "quotes/<str:token>/document": TOLD_APART,
    "papers/<slug:name>": TOLD_APART,
}

"""A quote as staff write it: revisions that never change, a second person for a large discount, and its document."""

import hashlib
from typing import Any

import pytest
from django.db import Error as DatabaseError

from kit.clock import now
from orders.models import Order, Quote, QuoteRevision
from orders.papers import papers
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.isolation.orders import a_quote, an_order
from tests.orders.test_orders import WHY, kinds, row_of

TERMS = {
    "scope": "A classifier for support tickets in four languages.",
    "lines": "Labelling and checks | 5000 | 0.40\nTraining and tuning | 1 | 9,000",
    "parts": "Model that meets the figure | 30 | macro_f1 | 0.85\nHand-over | 45",
    "discount": "0",
    "deposit": "30",
    "valid_days": "30",
    "net_days": "30",
    "warranty_days": "90",
    "reason": WHY,
}


def write(staff: Person, order: Order, **changes: Any) -> Any:
    """A revision by the form."""
    return staff.browser.post(f"/staff/orders/order/{order.pk}/write-quote/", {**TERMS, **changes})


def newest(person: Person, order: Order) -> tuple[Quote, QuoteRevision]:
    """The quote and the revision that counts."""
    with tenant_scope(person.tenant.id):
        quote = Quote.objects.get(order=order)
        return quote, QuoteRevision.objects.get(quote=quote, number=quote.revision)


def send(staff: Person, quote: Quote, email: str = "buyer@example.com") -> Any:
    """By the form."""
    return staff.browser.post(f"/staff/orders/quote/{quote.pk}/send/", {"email": email, "reason": WHY})


def test_a_quote_adds_up_and_its_document_is_what_its_hash_says(ada: Person, staff: Person) -> None:
    order = an_order(ada, title="报价 für Ünïcode")
    assert write(staff, order, discount="5").status_code == 302
    quote, revision = newest(ada, order)
    assert (revision.subtotal_cents, revision.discount_cents, revision.total_cents) == (1_100_000, 55_000, 1_045_000)
    assert revision.deposit_cents == 313_500
    assert sum(part["cents"] for part in revision.milestones) == revision.total_cents - revision.deposit_cents
    document = bytes(revision.document)
    assert document.startswith(b"%PDF-") and hashlib.sha256(document).hexdigest() == revision.sha256
    assert f"{revision.created_at:%Y%m%d%H%M%S}".encode() in document, "the date is the row's"
    assert revision.terms_sha256 == papers()["terms-2"].sha256
    hidden = ada.browser.get(f"{ada.workspace}/orders/{order.public_id}/").content.decode()
    assert quote.number not in hidden, "a draft is nobody's yet"
    assert ada.browser.get(f"{ada.workspace}/orders/{order.public_id}/quote.pdf").status_code == 404
    assert row_of(ada, order).state == "quoting"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("lines", "Labelling | 10 | -3", "Row 1: -3 is negative"),
        ("lines", "Labelling | 1.5 | 3", "not a whole number"),
        ("lines", "Labelling | 10 | 0.001", "whole cents"),
        ("lines", "Labelling | 999999999 | 99999999", "costs more than"),
        ("lines", "nothing", "with | between"),
        ("lines", "Free | 1 | 0", "comes to nothing"),
        ("parts", "One | soon", "Row 1"),
        ("parts", "One | 30 | magic | 0.9", "is not measured"),
        ("parts", "One | 30 | macro_f1 | nan", "value it must reach"),
        ("parts", "One | 0", "from 1 to 1,000"),
        ("discount", "51", "0 % to 50 %"),
        ("discount", "-1", "not a share"),
        ("deposit", "101", "0 % to 100 %"),
        ("valid_days", "0", "greater than or equal to 1"),
        ("net_days", "0", "greater than or equal to 1"),
        ("net_days", "91", "less than or equal to 90"),
        ("reason", "short", "at least 8"),
    ],
)
def test_terms_that_cannot_be_are_refused_in_words(
    ada: Person, staff: Person, field: str, value: str, words: str
) -> None:
    order = an_order(ada)
    answer = write(staff, order, **{field: value})
    text = answer.content.decode().replace("&#x27;", "'").replace("&#39;", "'")
    assert answer.status_code == 422 and words in text, text[text.find("errorlist") :][:400]
    assert row_of(ada, order).state == "submitted"


def test_a_large_discount_needs_a_second_person_and_its_author_is_not_one(
    ada: Person, staff: Person, boss: Person
) -> None:
    order = an_order(ada)
    write(staff, order, discount="10.01")
    quote, _ = newest(ada, order)
    refused = send(staff, quote)
    assert refused.status_code == 422 and "second person" in refused.content.decode()
    approve = f"/staff/orders/quote/{quote.pk}/approve/"
    own = staff.browser.post(approve, {"reason": WHY})
    assert own.status_code == 422 and "Somebody else" in own.content.decode()
    assert boss.browser.post(approve, {"reason": WHY}).status_code == 302
    assert boss.browser.post(approve, {"reason": WHY}).status_code == 302, "twice is once"
    assert send(staff, quote).status_code == 302
    write(staff, order, discount="20")
    assert send(staff, quote).status_code == 422, "what was approved is another revision"


def test_a_discount_of_a_tenth_needs_nobody(ada: Person, staff: Person, boss: Person) -> None:
    order = an_order(ada)
    write(staff, order, discount="10")
    quote, _ = newest(ada, order)
    needless = boss.browser.post(f"/staff/orders/quote/{quote.pk}/approve/", {"reason": WHY})
    assert needless.status_code == 422 and "needs no approval" in needless.content.decode()
    assert send(staff, quote).status_code == 302


def test_a_new_revision_takes_back_what_was_sent(ada: Person, staff: Person) -> None:
    order, quote, token = a_quote(ada)
    assert ada.browser.get(f"/quotes/{token}").status_code == 200
    write(staff, order, scope="Another wording of what is made for you.")
    assert ada.browser.get(f"/quotes/{token}").status_code == 404
    found, revision = newest(ada, order)
    assert (found.pk, revision.number, found.state) == (quote.pk, 2, "draft")
    assert kinds(ada, order)[-2:] == ["quote.link", "quote.withdrawn"]
    assert row_of(ada, order).state == "quoting"


def test_a_quote_that_was_taken_back_is_sent_again_only_as_a_new_revision(ada: Person, staff: Person) -> None:
    order, quote, token = a_quote(ada)
    body = {"text": "We found a mistake in it.", "reason": WHY}
    assert staff.browser.post(f"/staff/orders/quote/{quote.pk}/withdraw/", body).status_code == 302
    assert ada.browser.get(f"/quotes/{token}").status_code == 404
    refused = send(staff, quote)
    assert refused.status_code == 422 and "new revision" in refused.content.decode()
    assert "We found a mistake" in ada.browser.get(f"{ada.workspace}/orders/{order.public_id}/").content.decode()


def test_the_database_refuses_to_change_a_revision_and_sums_that_do_not_add_up(ada: Person) -> None:
    order, _quote, _token = a_quote(ada)
    _, revision = newest(ada, order)
    for change in ({"total_cents": 1}, {"document": b"another"}):
        with pytest.raises(DatabaseError), tenant_scope(ada.tenant.id):
            QuoteRevision.objects.filter(pk=revision.pk).update(**change)
    with pytest.raises(DatabaseError, match="adds_up"), tenant_scope(ada.tenant.id):
        fields = {
            field.name: getattr(revision, field.name) for field in QuoteRevision._meta.fields if field.name != "id"
        }
        QuoteRevision.objects.create(**{**fields, "number": 9, "total_cents": revision.total_cents - 1})


def test_the_customer_and_the_api_see_what_was_sent(ada: Person) -> None:
    order, quote, _token = a_quote(ada)
    told = ada.api.get(f"/v1/orders/{order.public_id}").json()
    assert told["status"] == "quoted" and told["quote"]["number"] == quote.number
    assert told["quote"]["total_cents"] == sum(line["amount_cents"] for line in told["quote"]["lines"]) == 1_100_000
    answer = ada.browser.get(f"{ada.workspace}/orders/{order.public_id}/quote.pdf")
    document = b"".join(answer.streaming_content)
    assert hashlib.sha256(document).hexdigest() == told["quote"]["sha256"]
    assert str(now().year) in told["quote"]["valid_until"] or told["quote"]["valid_until"] > f"{now():%Y-%m-%d}"


def test_a_paper_is_for_everybody_and_one_nobody_wrote_is_none(client: Any) -> None:
    for name in ("terms-1", "terms-2", "dpa-1"):
        text = client.get(f"/papers/{name}").content.decode()
        assert papers()[name].sha256 in text and papers()[name].heading in text
    for name in ("terms-3", "terms-01", "secrets", "dpa-999"):
        assert client.get(f"/papers/{name}").status_code == 404

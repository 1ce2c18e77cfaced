"""Accepting a quote without an account: once, by whoever holds the link, and by nobody else."""

import datetime as dt
import re
import threading
from typing import Any

import pytest
from django.core import mail
from django.db import connections
from django.test import Client

import config.celery  # noqa: F401 - doorbells ring somewhere
from hooks.models import Event
from kit.clock import now
from orders.errors import LinkGone
from orders.models import Acceptance, Contract, Milestone, Order, OrderInvoice, Quote, QuoteLink
from orders.services import acceptance_mail, offer_accept, offer_peek, quote_expire, quotes_due
from orders.services.quotes import hash_of
from tenants.models import AuditEvent, Tenant
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Person, make_person
from tests.isolation.orders import a_quote, granted
from tests.orders.test_orders import WHY, kinds, row_of
from tests.orders.test_quotes import send

FORM = {"name": "Bea Büyer 李", "title": "Head of IT", "purchase_order": "PO-4711", "agreed": "on"}


@pytest.fixture
def buyer() -> Client:
    """Somebody without an account."""
    return Client(raise_request_exception=False)


def accept(buyer: Client, token: str, **changes: Any) -> Any:
    """Read the page, then send its form."""
    page = buyer.get(f"/quotes/{token}").content.decode()
    found = re.search(r'name="sha256" value="(\w+)"', page)
    return buyer.post(f"/quotes/{token}", {**FORM, "sha256": found[1] if found else "", **changes})


def test_a_stranger_with_the_link_accepts_and_a_contract_follows(ada: Person, buyer: Client) -> None:
    order, quote, token = a_quote(ada)
    page = buyer.get(f"/quotes/{token}")
    text = page.content.decode()
    assert page.status_code == 200 and quote.number in text and "$11,000.00" in text and "PDF" in text
    assert "noindex" in page["X-Robots-Tag"] and page["Referrer-Policy"] == "same-origin"
    assert "no-store" in page["Cache-Control"]
    document = buyer.get(f"/quotes/{token}/document")
    assert document.content.startswith(b"%PDF-") and "noindex" in document["X-Robots-Tag"]
    answer = accept(buyer, token)
    assert answer.status_code == 302
    after = buyer.get(answer["Location"]).content.decode()
    assert "is accepted" in after and "PO-4711" in after
    assert buyer.get(f"/quotes/{token}/document").content == document.content
    assert Client().get(f"/quotes/{token}").status_code == 404, "another browser learns nothing"
    with tenant_scope(ada.tenant.id):
        made = Acceptance.objects.get(revision__quote=quote)
        assert (made.name, made.title, made.purchase_order) == (FORM["name"], "Head of IT", "PO-4711")
        assert made.ip == "127.0.0.1" and now() - made.at < dt.timedelta(minutes=1)
        assert made.document_sha256 == made.revision.sha256
        contract = Contract.objects.get(acceptance=made)
        assert (contract.total_cents, contract.deposit_cents) == (1_100_000, 330_000)
        assert contract.purchase_order == "PO-4711" and len(contract.terms_sha256) == 64
        parts = list(Milestone.objects.filter(contract=contract).order_by("position"))
        assert sum(one.cents for one in parts) + contract.deposit_cents == contract.total_cents
        invoice = OrderInvoice.objects.get(contract=contract)
        assert (invoice.kind, invoice.cents) == ("deposit", 330_000)
        log = AuditEvent.objects.get(action="quote.accepted", target_id=order.public_id)
        assert (log.actor_kind, log.after["ip"]) == ("link", "127.0.0.1") and FORM["name"] in log.actor_label
        assert Event.objects.filter(type="tunesmith.order.accepted", data__id=order.public_id).count() == 1
    assert row_of(ada, order).state == "accepted"
    assert kinds(ada, order)[-2:] == ["quote.accepted", "contract.made"]
    mail.outbox.clear()
    assert acceptance_mail(tenant_id=ada.tenant.id, acceptance_id=made.pk) == 3
    assert [letter.to for letter in mail.outbox][:2] == [["buyer@example.com"], ["ada@example.com"]]
    for letter in mail.outbox:
        assert made.document_sha256 in letter.body and "PO-4711" in letter.body
        ((name, content, kind),) = letter.attachments
        assert kind == "application/pdf" and content == document.content and quote.number in name


def test_a_form_that_is_sent_twice_leads_to_the_acceptance_and_is_no_miss(ada: Person, buyer: Client) -> None:
    order, _quote, token = a_quote(ada)
    body = {**FORM, "sha256": offer_peek(token).revision.sha256}
    answers = [buyer.post(f"/quotes/{token}", body) for _ in range(25)]
    assert {(answer.status_code, answer["Location"]) for answer in answers} == {(302, f"/quotes/{token}")}
    assert "is accepted" in buyer.get(f"/quotes/{token}").content.decode()
    with tenant_scope(ada.tenant.id):
        assert Contract.objects.filter(order=order).count() == 1
    assert Client().post(f"/quotes/{token}", body).status_code == 404, "another browser learns nothing"


def words(answer: Any) -> tuple[int, str]:
    """What is seen, without what differs between two pages of any kind."""
    return answer.status_code, re.sub(r'value="(\w{30,}|/quotes/[^"]*)"', "", answer.content.decode())


def test_every_link_that_leads_nowhere_looks_the_same(ada: Person, buyer: Client) -> None:
    used, withdrawn, old, foreign = (a_quote(ada)[2] for _ in range(4))
    accept(Client(), used)
    with tenant_scope(ada.tenant.id):
        QuoteLink.objects.filter(token_hash=hash_of(withdrawn)).update(revoked_at=now())
        QuoteLink.objects.filter(token_hash=hash_of(old)).update(expires_at=now() - dt.timedelta(seconds=1))
    closed = make_person("closed")
    granted(closed)
    gone = a_quote(closed)[2]
    with ops_scope("tests"):
        Tenant.ops.filter(pk=closed.tenant.pk).update(status="suspended")
    forged = "x" * 43
    expected = words(buyer.get(f"/quotes/{forged}"))
    assert expected[0] == 404 and "No quote here" in expected[1]
    for token in (used, withdrawn, old, gone, "short", "é" * 43, foreign[:-1], foreign + "a"):
        assert words(buyer.get(f"/quotes/{token}")) == expected
        assert words(buyer.post(f"/quotes/{token}", {**FORM, "sha256": "0" * 64})) == expected
    assert buyer.get(f"/quotes/{foreign}").status_code == 200


def test_guessing_is_slowed_down(buyer: Client) -> None:
    statuses = [buyer.get(f"/quotes/{'y' * 42}{n % 10}").status_code for n in range(25)]
    assert statuses[:20] == [404] * 20 and set(statuses[20:]) == {429}
    assert buyer.get(f"/quotes/{'z' * 43}")["Retry-After"] == "600"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "required"),
        ({"name": "   "}, "required"),
        ({"title": ""}, "required"),
        ({"purchase_order": "P" * 31}, "30"),
        ({"agreed": ""}, "Tick the box"),
        ({"sha256": "0" * 64}, "not the one that was shown"),
        ({"sha256": ""}, "There is a problem"),
    ],
)
def test_a_form_that_is_not_whole_accepts_nothing(
    ada: Person, buyer: Client, change: dict[str, str], said: str
) -> None:
    order, _quote, token = a_quote(ada, email=f"{now().timestamp()}@example.com")
    answer = accept(buyer, token, **change)
    assert answer.status_code == 422 and said in answer.content.decode()
    assert row_of(ada, order).state == "quoted"


@pytest.fixture(autouse=True)
def _room_for_links(ada: Person) -> None:
    with tenant_scope(ada.tenant.id):
        QuoteLink.objects.update(created_at=now() - dt.timedelta(hours=2))


def test_two_at_once_accept_once(ada: Person) -> None:
    order, quote, first = a_quote(ada)
    with tenant_scope(ada.tenant.id):
        from orders.services import link_create

        quote.refresh_from_db()
        second = link_create(quote=quote, email="cfo@example.com", by="tests")[1]
    sha256, outcomes = offer_peek(first).revision.sha256, []
    gate = threading.Barrier(4)

    def go(token: str) -> None:
        gate.wait()
        try:
            offer_accept(token=token, name="Bea", title="CFO", sha256=sha256)
            outcomes.append("accepted")
        except LinkGone:
            outcomes.append("gone")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=go, args=(token,)) for token in (first, second, first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["accepted", "gone", "gone", "gone"]
    with tenant_scope(ada.tenant.id):
        assert Contract.objects.filter(order=order).count() == 1
        assert OrderInvoice.objects.filter(contract__order=order).count() == 1


def test_what_nobody_accepts_in_time_expires(ada: Person, staff: Person, buyer: Client) -> None:
    order, quote, token = a_quote(ada)
    past = now() - dt.timedelta(seconds=1)
    with tenant_scope(ada.tenant.id):
        Quote.objects.filter(pk=quote.pk).update(expires_at=past)
        QuoteLink.objects.filter(token_hash=hash_of(token)).update(expires_at=past)
    assert buyer.get(f"/quotes/{token}").status_code == 404
    assert (ada.tenant.id, quote.pk) in quotes_due()
    with tenant_scope(ada.tenant.id):
        found = Quote.objects.select_related("order").get(pk=quote.pk)
        assert quote_expire(quote=found) and not quote_expire(quote=found)
    assert row_of(ada, order).state == "quoting" and kinds(ada, order)[-1] == "quote.expired"
    assert send(staff, quote).status_code == 422


def test_the_customer_mails_the_link_to_whoever_signs(ada: Person, buyer: Client) -> None:
    order, _quote, first = a_quote(ada)
    mail.outbox.clear()
    here = f"{ada.workspace}/orders/{order.public_id}"
    assert ada.browser.post(f"{here}/link", {"email": "cfo@example.com"}).status_code == 302
    (letter,) = mail.outbox
    token = letter.body.split("/quotes/")[1].strip()
    assert letter.to == ["cfo@example.com"] and buyer.get(f"/quotes/{token}").status_code == 200
    with tenant_scope(ada.tenant.id):
        assert not QuoteLink.objects.filter(token_hash__contains=token).exists(), "only its hash is kept"
    assert ada.browser.post(f"{here}/link", {"email": "nobody"}).status_code == 422
    viewer = make_person("viewer", beside=ada, role="developer")
    assert viewer.browser.post(f"{here}/link", {"email": "x@example.com"}).status_code == 403
    assert accept(buyer, token).status_code == 302
    assert Client().get(f"/quotes/{first}").status_code == 404
    refused = ada.browser.post(f"{here}/link", {"email": "late@example.com"})
    assert refused.status_code == 422 and "no quote that could be accepted" in refused.content.decode()


def test_links_are_mailed_twenty_times_an_hour_at_most(ada: Person) -> None:
    order, _quote, _token = a_quote(ada)
    here = f"{ada.workspace}/orders/{order.public_id}/link"
    statuses = [ada.browser.post(here, {"email": f"p{n}@example.com"}).status_code for n in range(22)]
    assert statuses[:19] == [302] * 19 and statuses[19:] == [422] * 3


def test_staff_who_send_are_logged_with_their_reason(ada: Person, staff: Person) -> None:
    order, quote, _token = a_quote(ada)
    assert send(staff, quote, "other@example.com").status_code == 302
    with tenant_scope(ada.tenant.id):
        log = AuditEvent.objects.filter(action="quote.link_created", target_id=order.public_id).order_by("-at").first()
        assert log.actor_kind == "staff" and log.after["email"] == "other@example.com"
        assert Order.objects.get(pk=order.pk).state == "quoted"
    assert WHY

"""A tenant sees its own currency and no other: where it is chosen, on every page, in files, and on the price list."""

import datetime as dt
import html
import re
from decimal import Decimal
from pathlib import Path

import pytest
from django.test import Client

from billing.models import Subscription
from billing.plans import plan_book
from billing.selectors import subscriptions
from billing.services.entitlements import entitlement_refresh
from console.currencies import likely
from console.fields import AmountField, price_field
from kit.clock import now
from kit.money import NANO, in_currency
from tenants.access import memberships_of
from tenants.currency import currency_in_scope
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.billing.test_plan_files import changed
from tests.conftest import Person, make_person
from tests.console import billed
from tests.console.places import PLACES

OUTSIDE = re.compile(r"<(script|style|template)\b.*?</\1>", re.DOTALL)
TAG = re.compile(r"<[^>]*>")
DOLLARS = re.compile(r"\$\s?\d|\d\s?\$|\bUSD\b|\b\w+_usd\b|\bdollar", re.IGNORECASE)
EUROS = re.compile("€|\\bEUR\\b|\\b\\w+_eur\\b")
CHOICES = "US dollars ($) Euros (€)"
"""What asks for a currency names them all."""


def words(text: str) -> str:
    """What a reader of a page sees, and what stands in its titles, labels and drawings."""
    shown = OUTSIDE.sub(" ", text)
    told = " ".join(re.findall(r'(?:title|aria-label|placeholder|data-money)="([^"]*)"', shown))
    return " ".join(html.unescape(f"{TAG.sub(' ', shown)} {told}").split())


def seen(browser: Client, path: str) -> str:
    """The words of a page that opens."""
    answer = browser.get(path)
    assert answer.status_code == 200, f"{path}: {answer.status_code}"
    return words(answer.content.decode())


def of(person: Person) -> str:
    with tenant_scope(person.tenant.id):
        return currency_in_scope()


@pytest.mark.parametrize(
    ("languages", "code"),
    [
        ("de-DE,de;q=0.9,en-US;q=0.8", "eur"),
        ("de,en-US;q=0.7", "eur"),
        ("en-IE", "eur"),
        ("es-ES", "eur"),
        ("es", "usd"),
        ("es-MX,es;q=0.9", "usd"),
        ("de-CH,de;q=0.9", "usd"),
        ("en-US,en;q=0.9,de;q=0.8", "usd"),
        ("", "usd"),
        ("*;q=x,-,", "usd"),
    ],
)
def test_the_browser_says_which_currency_is_offered_first(languages: str, code: str) -> None:
    assert likely(languages) == code
    page = make_person("guess").browser.get("/o/new", headers={"accept-language": languages}).content.decode()
    assert re.findall(r'name="currency" value="(\w+)"[^>]*\bchecked', page) == [code]
    assert "cannot be changed later" in page


def test_an_organisation_is_made_in_euros_and_says_so() -> None:
    ada = make_person("ada")
    answer = ada.browser.post("/o/new", {"name": "Euro Works", "currency": "eur"})
    assert answer.status_code == 302
    seat = memberships_of(ada.user.pk)[-1]
    with tenant_scope(seat.tenant_id):
        assert (Tenant.objects.get().currency, currency_in_scope()) == ("eur", "eur")
    settings = seen(ada.browser, f"/o/{seat.tenant_slug}/settings")
    assert "Currency: Euros (€) ." in settings and "It stays" in settings
    assert "currency: Euros (€)" in seen(ada.browser, f"/o/{seat.tenant_slug}/audit")
    assert re.search(r"Ada Works USD owner Euro Works EUR owner", seen(ada.browser, "/o/?all"))


def test_who_has_one_currency_is_not_told_it_in_the_list() -> None:
    ada = make_person("ada")
    ada.browser.post("/o/new", {"name": "Second", "currency": "usd"})
    listed = seen(ada.browser, "/o/?all")
    assert "Second owner" in listed and not DOLLARS.search(listed)


@pytest.mark.parametrize(("forged", "said"), [("chf", "Choose one of these currencies."), ("", "Choose a currency.")])
def test_a_currency_that_is_not_sold_is_refused(forged: str, said: str) -> None:
    ada = make_person("ada")
    answer = ada.browser.post("/o/new", {"name": "Forged", "currency": forged})
    assert answer.status_code == 422 and said in answer.content.decode()
    assert len(memberships_of(ada.user.pk)) == 1


@pytest.mark.parametrize(
    ("code", "typed", "nano"),
    [
        ("eur", "€1,250.50", 1250 * NANO + NANO // 2),
        ("eur", "12 €", 12 * NANO),
        ("eur", "EUR 12", 12 * NANO),
        ("usd", "$ 12", 12 * NANO),
        ("chf", "12 CHF", 12 * NANO),
        ("eur", "", None),
    ],
)
def test_an_amount_is_typed_with_its_symbol_or_without(code: str, typed: str, nano: int | None) -> None:
    with in_currency(code):
        assert AmountField(label="Amount").clean(typed) == nano
        if nano is not None and "," not in typed:
            assert price_field("Most").clean(typed) == Decimal(nano) / NANO


def test_an_amount_of_another_currency_is_refused_in_words() -> None:
    ada = make_person("ada", currency="eur")
    page = f"{ada.home}/settings/projects/{ada.project.public_id}/limits"
    for typed, said in (
        ("$1.50", "Amounts here are in euros, not in US dollars. Enter an amount in euros, for example 50 or 12.50."),
        ("a lot", "Enter an amount in euros, for example 50 or 12.50."),
    ):
        answer = ada.browser.post(page, {"monthly_spend_nano": typed})
        assert answer.status_code == 422 and said in words(answer.content.decode())
    assert ada.browser.post(page, {"monthly_spend_nano": "€1.50"}).status_code == 302
    shown = seen(ada.browser, page)
    assert "Spend per month, EUR" in shown and "€1.50" in shown


@pytest.mark.parametrize(("code", "other"), [("eur", DOLLARS), ("usd", EUROS)])
def test_no_page_of_an_organisation_shows_another_currency(code: str, other: re.Pattern[str]) -> None:
    ada = make_person("ada", currency=code)
    wrong = []
    for place in PLACES:
        place.prepare(ada)
        path = place.path(ada)
        text = seen(ada.browser, path).replace(CHOICES, "")
        wrong += [f"{path}: …{text[max(0, one.start() - 60) : one.end() + 30]}" for one in other.finditer(text)]
    assert not wrong, "\n".join(wrong)


def test_a_plan_is_shown_at_its_price_in_the_currency_it_is_paid_in() -> None:
    ada = make_person("ada", currency="eur")
    with tenant_scope(ada.tenant.id):
        Subscription.objects.create(
            stripe_id=f"sub_{ada.tenant.id.hex}", status="active", plan="developer", plan_version=6, started_at=now(),
            period_end=now() + dt.timedelta(days=30), raw={"items": {"data": []}, "currency": "eur"},
        )  # fmt: skip
        entitlement_refresh()
    month, year = (seen(ada.browser, f"{ada.home}/billing/{query}") for query in ("", "?every=year"))
    assert "Developer plan €27.00 Total before tax €27.00" in month and "Team €185 a month" in month
    assert "Team €1,850 a year" in year and "29" not in re.findall(r"€(\d+)", month + year)
    seats = seen(ada.browser, f"{ada.home}/billing/seats")
    assert "Beyond the 5 that are included, €8 each." in seats
    typed = seen(ada.browser, f"{ada.home}/billing/calculator?traffic=typed")
    assert "€27.00 a month, €20.00 of usage included" in typed and "Cost of a month over its usage, EUR" in typed


def test_a_plan_that_is_not_sold_in_it_says_so_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swaps = (("eur = 2_700\n", ""), ("eur = 27_000\n", ""), ("eur = 800\n", ""), ("eur = 8_000\n", ""))
    book = changed(tmp_path, *swaps, name="developer-6.toml")
    plan_book.cache_clear()
    monkeypatch.setattr(subscriptions, "plan_book", lambda: book)
    ada = make_person("ada", currency="eur")
    page = seen(ada.browser, f"{ada.home}/billing/")
    assert "Developer not sold in euros" in page and "An organisation keeps its currency. Ask us for an offer" in page
    assert "Choose Developer" not in page and "Choose Team" in page.replace("Try Team", "Choose Team")


def test_files_name_the_currency_of_their_amounts() -> None:
    ada = make_person("ada", currency="eur")
    billed.made_usage(ada)
    invoice = billed.made_invoice(ada)
    heads = {
        f"{ada.home}/usage/csv": "cost_eur",
        f"{ada.home}/usage/events/csv": "cost_eur",
        f"{ada.workspace}/requests/csv": "cost_eur",
        f"{ada.home}/billing/wallet/statement.csv": "amount_nano_eur",
        f"{ada.home}/billing/invoices/{invoice.public_id}/csv": "amount_eur",
    }
    for path, column in heads.items():
        answer = ada.browser.get(path)
        head = b"".join(answer).decode("utf-8-sig").splitlines()[0].replace('"', "")
        assert answer.status_code == 200 and column in head.split(",") and "usd" not in head, f"{path}: {head}"


@pytest.mark.parametrize("query", ["", "&every=year", "&rows=100000&calls=5000000"])
def test_the_price_list_in_euros_has_no_dollars(client: Client, query: str) -> None:
    page = seen(client, f"/pricing?currency=eur{query}")
    page = page.replace("USD EUR", "")  # the links that choose
    assert not DOLLARS.search(page) and page.count("€") > 60
    assert "2026-12-01.eur" in page, "unit prices are of the book in euros"


def test_the_price_list_and_the_landing_page_are_in_dollars_unless_asked(client: Client) -> None:
    for path in ("/", "/pricing", "/pricing?currency=sek"):
        page = seen(client, path).replace("USD EUR", "")
        assert "$" in page and not EUROS.search(page), path

"""The public pricing page says what plan files and the price book say."""

import re
from pathlib import Path

import pytest
from django.test import Client

from billing.plans import plan_book
from console import calculator, pricing, tiers
from kit.money import price
from tests.billing.test_plan_files import changed
from tests.billing.test_price_scales import BOOK, book_of


def text_of(client: Client, query: str = "") -> str:
    """The page's words, spaces as one."""
    answer = client.get(f"/pricing{query}")
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_plans_are_shown_by_the_month_and_by_the_year(client: Client) -> None:
    month = text_of(client)
    assert '$29</strong> <span class="text-muted">a month' in month and "$290" not in month
    year = text_of(client, "?every=year")
    assert '$290</strong> <span class="text-muted">a year' in year and "instead of $348" in year
    assert "$1,990" in year and "instead of $2,388" in year
    assert '14 days</span> <span class="text-muted">without a card' in month, "Starter"
    assert '14 days</span> <span class="text-muted">with a card' in month, "Team"
    assert '<td class="num">$9 <span class="text-muted">a month' in month[month.index("One more seat") :]
    assert '<td class="num">$90 <span class="text-muted">a year' in year[year.index("One more seat") :]
    assert 'name="every" value="year"' in year, "the calculator keeps the choice"


@pytest.mark.parametrize("query", ["?every=week", "?every=", "?currency=chf", "?currency=%00&every=<b>"])
def test_a_choice_that_is_not_there_shows_the_first_one(client: Client, query: str) -> None:
    assert "$29</strong>" in text_of(client, query)


def test_cached_prompts_have_a_price_of_their_own(client: Client) -> None:
    assert 'in the cache</th><td class="n">$0.05</td>' in text_of(client)


def test_there_is_a_choice_of_currency_where_plans_have_several(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = ('href="?every=month&amp;currency=usd" aria-current="page"', 'href="?every=month&amp;currency=eur"')
    assert all(link in text_of(client) for link in links)
    page = text_of(client, "?currency=eur")
    assert '€27</strong> <span class="text-muted">a month' in page
    assert '€270</strong> <span class="text-muted">a year' in text_of(client, "?currency=eur&every=year")
    assert 'name="currency" value="eur"' in page, "the calculator keeps the choice"
    assert not re.search(r"\$\d|USD", page.replace("currency=usd", "").replace(">USD<", "")), (
        "nothing else is in dollars"
    )
    swaps = (("eur = 2_700\n", ""), ("eur = 27_000\n", ""), ("eur = 800\n", ""), ("eur = 8_000\n", ""))
    book = changed(tmp_path, *swaps, name="developer-6.toml")
    plan_book.cache_clear()
    monkeypatch.setattr(pricing, "plan_book", lambda: book)
    monkeypatch.setattr(calculator.plans, "plan_book", lambda: book)
    page = text_of(client, "?currency=eur")
    assert "not sold in euros</strong>" in page and "ask us, or choose another currency" in page
    assert "$29" not in page, "it is not shown at a price that nobody here pays"


def test_prices_by_quantity_are_a_table(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = text_of(client)
    assert "Classification, tokens read" in page and '<td class="n">$0.016</td>' in page
    assert (
        "Storage, GB-hours" in page
        and "Engines of its own, hours" in page
        and "comes off the bill within a minute" in page
    )
    assert "goes into the next month, up to $200.00, and ends with it" in page
    book = book_of(tmp_path, BOOK)
    monkeypatch.setattr(pricing, "current_book", lambda: book)
    found = {table.name: table for table in tiers.tables(book)}
    steps = [(step.first, step.last, step.price) for step in found["Embeddings"].steps]
    assert steps == [(1, 1_000, "$0.01"), (1_001, 3_000, "$0.008"), (3_001, None, "$0.004")]
    assert [(step.first, step.last) for step in found["Storage"].steps] == [(1, 10), (11, None)]
    assert (found["Training"].steps[0].last, found["Training"].steps[0].price) == (1_000_000, "$0.40")
    monkeypatch.setattr(pricing, "unit_prices", lambda book: [])  # this book sells fewer kinds than are listed
    page = text_of(client)
    assert "Prices by quantity" in page and "A package that is begun is paid" in page
    assert "Embeddings, tokens read" in page
    assert '<td class="n">3,000</td> <td class="n">$0.008</td>' in page
    assert '<td class="n">any more</td> <td class="n">$0.004</td>' in page


@pytest.mark.parametrize(
    ("minor", "currency", "said"),
    [
        (2900, "usd", "$29"),
        (2950, "usd", "$29.50"),
        (270000, "eur", "€2,700"),
        (2900, "chf", "29\u00a0CHF"),
        (4400, "jpy", "4,400\u00a0JPY"),
    ],
)
def test_a_price_is_said_in_its_currency(minor: int, currency: str, said: str) -> None:
    assert price(minor, currency) == said

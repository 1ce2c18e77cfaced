"""The main job in headless Chromium: every step clicked, in the order a new user meets it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.conftest import Stack

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "forge-your-own-model"
pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture
def page(stack: Stack, chromium: Any) -> Iterator[Any]:
    """A fresh window at the landing page; any console error or refused script fails the journey."""
    context = chromium.new_context(base_url=stack.base_url, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(30_000)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if unexpected(message) else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto("/")
    yield page
    context.close()
    assert problems == []


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The first rows of the example, so that training takes seconds."""
    lines = (ROOT / "examples" / "support_intents.csv").read_text().splitlines(keepends=True)
    path = tmp_path / "tickets.csv"
    path.write_text("".join(lines[:601]))
    return path


def test_a_new_user_gets_from_the_landing_page_to_a_prediction_and_its_price(page: Any, data: Path) -> None:
    sign_up(page, "grace@example.com")
    subscribe(page)
    train(page, data)
    deploy(page)
    label = try_it(page)
    assert label
    page.get_by_role("link", name="Usage", exact=True).first.click()
    page.get_by_text("Cost per day").wait_for()
    page.get_by_role("link", name="Audit log").first.click()
    page.get_by_role("heading", name="Audit log").wait_for()
    page.locator("tbody tr").first.wait_for()


def unexpected(message: Any) -> bool:
    """A console error that is neither the declined card's 402 nor htmx telling of a request it replaced."""
    return message.type == "error" and "402" not in message.text and not message.text.startswith("htmx:")


def sign_up(page: Any, email: str) -> None:
    """Landing page to a confirmed account with an organisation."""
    page.get_by_role("link", name="Start free").first.click()
    page.locator("input[name=email]").fill(email)
    page.locator("input[name=password1]").fill(PASSWORD)
    page.locator("input[name=password1]").press("Enter")
    page.wait_for_url("**/confirm-email/**")
    page.goto("/dev/mail")
    page.get_by_role("link", name=re.compile("Confirm your address")).first.click()
    page.locator("a[href*='confirm-email/']").first.click()
    page.locator("form[action*='confirm-email'] button").first.click()
    if page.locator("input[name=login]").count():
        page.locator("input[name=login]").fill(email)
        page.locator("input[name=password]").fill(PASSWORD)
        page.locator("input[name=password]").press("Enter")
    page.goto("/o/new")
    page.locator("input[name=name]").fill("Grace & Co")
    page.locator("input[name=name]").press("Enter")
    page.wait_for_url("**/p/default/**")


def subscribe(page: Any) -> None:
    """A declined card first, then one that is taken."""
    page.get_by_role("link", name="Billing").first.click()
    form = page.locator("form[action*='checkout']:has(input[value=developer])")
    form.get_by_role("button").click()
    page.wait_for_url("**/c/pay/**")
    pay(page, "4000000000000002")
    page.get_by_text("declined").first.wait_for()
    pay(page, "4242424242424242")
    page.wait_for_url("**/billing/**")
    page.get_by_text("Your plan", exact=True).wait_for()


def pay(page: Any, number: str) -> None:
    """Fill in the hosted checkout."""
    for name, value in (("number", number), ("expiry", "12/34"), ("cvc", "123"), ("name", "Grace")):
        page.locator(f"input[name={name}]").fill(value)
    page.locator("input[name=cvc]").press("Enter")


def train(page: Any, data: Path) -> None:
    """Upload, look at the findings, make a dataset, queue a job, watch it succeed."""
    page.get_by_role("link", name="Datasets").first.click()
    page.get_by_role("link", name="Upload data").first.click()
    page.locator("input[type=file]").set_input_files(str(data))
    page.get_by_role("button", name="Upload", exact=True).click()
    page.get_by_role("button", name="Make dataset").click(timeout=60_000)
    page.get_by_role("link", name="Use in a job").click(timeout=60_000)
    page.locator("input[name=method][value=head]").check()
    page.get_by_text("at most").first.wait_for()
    page.get_by_role("button", name="Queue job").click()
    page.wait_for_url("**/jobs/ftjob-**")
    page.get_by_role("link", name="Open model").click(timeout=240_000)


def deploy(page: Any) -> None:
    """From the report to a live deployment."""
    page.get_by_text("macro-F1").first.wait_for()
    page.get_by_role("button", name="Deploy", exact=True).click()
    page.get_by_text("Serving").first.wait_for(timeout=60_000)


def try_it(page: Any) -> str:
    """Ask the model in the playground; returns the label it answers."""
    page.get_by_role("link", name="Playground").first.click()
    page.locator("textarea[name=text]").fill("where is my parcel, it was due on monday")
    page.get_by_role("button", name=re.compile("^Run")).click()
    answer = page.locator("#result code").first
    answer.wait_for()
    return str(answer.inner_text())

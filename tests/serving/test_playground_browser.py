"""Somebody at the playground in a real browser: every face's answer, errors beside the form, and the keyboard alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from billing.services.limits import spend_limit_set
from tenants.scope import tenant_scope
from tests.browser import AXE
from tests.conftest import Person
from tests.console.audit import AUDIT, RULES, audited
from tests.console.pages import sideways, signed_in
from tests.inference.test_token_heads import DOCUMENTS, PAIRS, QUERY, TEXTS
from tests.serving.heads import made_for, roomy
from tests.serving.made import deployed, publish, trained

pytestmark = [
    pytest.mark.slow,  # starts real processes
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators"),
]
ASKED: dict[str, tuple[str, str]] = {
    "token-classification": (TEXTS[0], ""),
    "question-answering": PAIRS[0],
    "rerank": (QUERY, DOCUMENTS[1]),
    "regression": ("it broke on the second day", ""),
    "multi-label-classification": ("I will find you", ""),
    "embeddings": ("where is my refund", "I want my money back"),
}
SEEDS = {"a": 1, "b": 7}
NAMES = {
    "question-answering": ("Question", "Text that may hold the answer"),
    "rerank": ("Query", "Document to score"),
    "embeddings": ("Text", "Second text"),
}
"""What the two texts are called, by task; one text is a text."""


@pytest.fixture(params=[(1440, "light"), (390, "dark")], ids=["wide", "phone"])
def page(chromium: Any, request: Any) -> Iterator[Any]:
    """A window, with everything it complains about in `complaints`."""
    width, theme = request.param
    size = {"width": width, "height": 900}
    context = audited(chromium, reduced_motion="reduce", color_scheme=theme, viewport=size)
    opened = context.new_page()
    opened.set_default_timeout(10_000)
    opened.complaints = []
    opened.on("console", lambda m: opened.complaints.append(m.text) if m.type in {"error", "warning"} else None)
    opened.on("pageerror", lambda e: opened.complaints.append(str(e)))
    yield opened
    context.close()


def check(page: Any) -> None:
    """Nothing was complained about, axe finds nothing, nothing scrolls sideways."""
    problems = list(page.complaints)
    if AXE.exists():
        problems += page.evaluate(AUDIT, RULES)
    if extra := sideways(page):
        problems.append(f"scrolls sideways by {extra} px")
    assert not problems, problems


def test_every_face_answers_and_can_be_read_by_everybody(site: str, page: Any, engine: None, tmp_path: Path) -> None:
    person = roomy("ada")
    signed_in(page.context, site, person)
    for task, (text, other) in ASKED.items():
        row = deployed(person, publish(person, made_for(task, tmp_path / task), suffix=task[:20]))
        page.goto(f"{site}{person.workspace}/playground/?model={row.public_id}")
        first, second = NAMES.get(task, ("Text", ""))
        page.get_by_label(first, exact=True).fill(text)
        if second:
            page.get_by_label(second, exact=True).fill(other)
        assert page.locator("#play textarea:visible").count() == (2 if second else 1)
        page.get_by_role("button", name="Run").click()
        page.locator("#result").get_by_text("tokens").wait_for()
        check(page)


def test_the_labels_of_a_classifier_are_drawn_explained_and_reached_by_keys_alone(
    site: str, page: Any, engine: None, tmp_path: Path
) -> None:
    person = roomy("ada")
    signed_in(page.context, site, person)
    version, _ = trained(person, tmp_path / "a", "lora")
    row = deployed(person, version)
    page.goto(f"{site}{person.workspace}/playground/?model={row.public_id}")
    page.locator("[name=text]").focus()
    page.keyboard.type("where is my parcel")
    page.keyboard.press("Control+Enter")
    page.locator("#result table").wait_for()
    assert page.locator("#result progress").count() == page.locator("#result tbody tr").count() > 1
    code = page.locator("#same-call")
    assert "where is my parcel" in code.inner_text() and "x_abstain" not in code.inner_text()
    reached(page, "Why this answer?")
    page.keyboard.press("Enter")
    page.locator("#why").get_by_text("The text was read 4 times without a piece of it.").wait_for()
    check(page)
    page.get_by_label("Threshold").fill("1")
    page.get_by_label("Threshold").press("Enter")
    page.locator("#result").get_by_text("is below the threshold of 1.000").wait_for()
    code.get_by_text('"x_abstain": {"threshold": 1.0}').first.wait_for()
    check(page)


def test_what_two_models_differ_by_is_seen_without_scrolling(
    site: str, page: Any, engine: None, tmp_path: Path
) -> None:
    person = roomy("ada")
    signed_in(page.context, site, person)
    rows = [deployed(person, trained(person, tmp_path / name, "head", seed=seed)[0]) for name, seed in SEEDS.items()]
    page.goto(f"{site}{person.workspace}/playground/?model={rows[0].public_id}&against={rows[1].public_id}")
    page.fill("[name=text]", "where is my parcel")
    page.get_by_role("button", name="Run").click()
    page.locator("#result table").wait_for()
    region = page.locator("#result .scroll")
    assert region.evaluate("r => r.scrollWidth <= r.clientWidth"), "nothing of the table is out of view"
    ends = [one.bounding_box() for one in region.locator("tr > :last-child").all()]
    assert len({round(box["x"] + box["width"]) for box in ends}) == 1, "head and figures stand under each other"
    assert page.get_by_role("columnheader", name="Difference").is_visible()
    assert page.get_by_role("row").count() == page.locator("#result tr").count(), "it is still a table to a reader"
    check(page)


def test_what_goes_wrong_is_said_beside_the_form_and_nothing_typed_is_lost(
    site: str, page: Any, engine: None, tmp_path: Path
) -> None:
    person = roomy("ada")
    signed_in(page.context, site, person)
    version, _ = trained(person, tmp_path / "a", "head")
    row = deployed(person, version)
    page.goto(f"{site}{person.workspace}/playground/?model={row.public_id}")

    def run(words: str) -> None:
        page.get_by_role("button", name="Run").click()
        page.locator("#result .note").get_by_text(words).wait_for()
        check(page)

    page.fill("[name=text]", " ")  # an empty one the browser itself keeps back
    run("Write a text to try.")
    page.get_by_label("Threshold").fill("2")
    page.fill("[name=text]", "where is my parcel")
    page.locator("[name=threshold]").evaluate("field => field.removeAttribute('max')")
    run("Write 1 or less.")
    page.get_by_label("Threshold").fill("")
    spend(person, 0)
    run("beyond the monthly spend limit of your organization")
    spend(person, None)
    with override_settings(ENGINE_ADDRESS="unix:///nobody.sock"):
        run("It is our fault, it is logged, and it costs nothing. Try again in a moment.")
    assert page.input_value("[name=text]") == "where is my parcel"
    assert "where is my parcel" in page.locator("#same-call").inner_text(), "the call that failed can be taken along"
    page.get_by_role("button", name="Run").click()
    page.locator("#result table").wait_for()


def spend(person: Person, nano: int | None) -> None:
    with tenant_scope(person.tenant.id):
        spend_limit_set(monthly_nano=nano)


def reached(page: Any, name: str) -> None:
    """Go to a button by the tabulator alone."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == name:
            return
    raise AssertionError(f"no key leads to {name}")

"""Rollouts in a real browser, as a customer goes through them."""

from __future__ import annotations

from typing import Any

import pytest

from kit.clock import now
from kit.ids import new_id, parse_id
from serving.models import RequestRecord, Rollout
from serving.rollout_tick import rollout_look
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.console import rolling
from tests.console.pages import signed_in, visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators"),
]


@pytest.fixture
def ada() -> Person:
    return make_person("ada")


def opened(chromium: Any, site: str, person: Person, path: str) -> Any:
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    signed_in(context, site, person)
    return visit(context, f"{site}{person.workspace}/{path}").page


def test_a_canary_is_begun_watched_and_seen_going_back_by_itself(site: str, chromium: Any, ada: Person) -> None:
    """Whoever watches need not reload: the head, with its buttons, changes with what is under it."""
    before = rolling.made_rollout(ada)
    with tenant_scope(ada.tenant.id):
        alias, candidate = before.alias, before.candidate.public_id
    ada.api.post(f"/v1/rollouts/{before.public_id}/rollback")
    page = opened(chromium, site, ada, "rollouts/new")
    page.select_option("[name=alias]", alias)
    page.select_option("[name=candidate]", candidate)
    page.clock.install()
    page.click("text=Begin rollout")
    page.wait_for_selector("text=Promote candidate")
    assert "Evidence against the candidate: " in page.inner_text("#rollout")
    assert "Before 25%: 100 more calls, 30 more minutes." in page.inner_text("#rollout")
    assert "none yet; it is rolled back at 300." in page.inner_text("#rollout")
    other = opened(chromium, site, ada, f"deployments/{candidate}/")
    other.click("text=candidate")
    other.wait_for_url(page.url)
    other.context.close()
    with tenant_scope(ada.tenant.id):
        row = Rollout.objects.select_related("stable", "candidate").get(state="running")
        for arm, status in (("stable", 200), ("candidate", 503)):
            version = (row.stable if arm == "stable" else row.candidate).version_id
            RequestRecord.objects.bulk_create(
                RequestRecord(
                    id=new_id(), tenant_id=ada.tenant.id, project_id=ada.project.id, at=now(), kind="classify",
                    model=alias, version_id=version, arm=arm, status=status, duration_ms=4,
                )
                for _ in range(30)
            )  # fmt: skip
    page.fill("[name=share]", "12")
    page.clock.fast_forward(16_000)
    page.wait_for_selector("#rollout >> text=30 (100.0%)")
    assert page.input_value("[name=share]") == "12", "what is being typed stays"
    assert rollout_look(tenant_id=ada.tenant.id, rollout_id=row.pk) == "errors"
    page.clock.fast_forward(16_000)
    page.wait_for_selector("text=Rolled back by itself.")
    assert page.locator("text=Promote candidate").count() == 0
    page.click("text=Begin again…")
    page.wait_for_selector("text=Begin rollout")
    assert page.input_value("[name=alias]") == alias
    page.context.close()


def test_what_a_canary_needs_is_asked_for_a_canary_alone(site: str, chromium: Any, ada: Person) -> None:
    before = rolling.made_rollout(ada)
    with tenant_scope(ada.tenant.id):
        alias, candidate = before.alias, before.candidate.public_id
    ada.api.post(f"/v1/rollouts/{before.public_id}/rollback")
    page = opened(chromium, site, ada, "rollouts/new")
    page.select_option("[name=alias]", alias)
    page.select_option("[name=candidate]", candidate)
    page.fill("[name=minutes]", "")
    page.check("[name=mode][value=shadow]")
    assert not page.locator("[name=minutes]").is_visible()
    page.click("text=Begin rollout")
    page.wait_for_selector("text=Stop shadow")
    assert "Nothing was compared yet." in page.inner_text("#rollout")
    page.click("text=Stop shadow")
    page.wait_for_selector("text=The candidate is not asked any more.")
    assert page.locator(".title-row").inner_text().count("Stopped") == 1
    page.context.close()


def test_another_alias_offers_other_candidates(site: str, chromium: Any, ada: Person) -> None:
    made = [rolling.made_rollout(ada) for _ in range(2)]
    with tenant_scope(ada.tenant.id):
        stables = {row.alias: row.stable.public_id for row in made}
    page = opened(chromium, site, ada, "rollouts/new")
    for alias in (*stables, *stables):
        page.select_option("[name=alias]", alias)
        page.wait_for_selector(f"[name=candidate]:not(:has([value={stables[alias]}]))")
        offered = page.locator("[name=candidate] option").evaluate_all("all => all.map(one => one.value)")
        assert len(offered) == 3 and stables[alias] not in offered
    page.context.close()


def test_a_promotion_is_undone_with_a_click(site: str, chromium: Any, ada: Person) -> None:
    made = rolling.made_rollout(ada, calls=100)
    page = opened(chromium, site, ada, f"rollouts/{made.public_id}/")
    page.click("text=Promote candidate")
    page.click("text=Undo: back to the old version")
    page.wait_for_selector("text=Rolled back by hand. All callers get the stable version.")
    with tenant_scope(ada.tenant.id):
        assert Rollout.objects.get(pk=parse_id("rollout_", made.public_id)).state == "rolled_back"
    page.context.close()


def test_a_shadow_that_writes_says_what_its_answers_have_in_common(site: str, chromium: Any, ada: Person) -> None:
    made = rolling.made_writing_shadow(ada)
    page = opened(chromium, site, ada, f"rollouts/{made.public_id}/")
    said = page.inner_text("#rollout")
    for label, value in (
        ("Calls compared", "2,310"),
        ("Same answer", "52.1%"),
        ("Words in common (F1)", "90.0%"),
        ("Ended for the same reason", "94.8%"),
        ("Tokens of an answer, stable version", "80.0"),
        ("Tokens of an answer, candidate", "100.0"),
        ("Calls not compared", "12"),
    ):
        assert f"{label}\n{value}" in said
    page.context.close()

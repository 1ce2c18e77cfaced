"""The pages of limits: a project's, and the organisation's own spend limit."""

from __future__ import annotations

import pytest

from billing.models import MemberLimits, ModelLimits, ProjectLimits, SpendLimit
from billing.selectors.limits import spend_limit
from kit.clock import now
from kit.money import NANO
from tenants.models import AuditEvent, Member
from tenants.scope import tenant_scope
from tests.billing.money import call, entitle, store_events
from tests.conftest import Cast, Person, make_person
from tests.inference.artefacts import BASE


def page_of(person: Person) -> str:
    return f"{person.home}/settings/projects/{person.project.public_id}/limits"


def test_limits_are_set_shown_and_lifted_on_their_page(cast: Cast) -> None:
    ada = cast.owner
    assert page_of(ada) in ada.browser.get(f"{ada.home}/settings").content.decode()
    filled = {"requests_per_minute": "30", "tokens_per_minute": "", "concurrency": "2", "monthly_spend_nano": "1.50"}
    answer = ada.browser.post(page_of(ada), filled)
    assert (answer.status_code, answer["Location"]) == (302, page_of(ada))
    with tenant_scope(ada.tenant.id):
        limits = ProjectLimits.objects.get().limits
        assert limits == {"requests_per_minute": 30, "concurrency": 2, "monthly_spend_nano": 3 * NANO // 2}
        event = AuditEvent.objects.get(action="project.limits_changed")
        assert (event.actor_label, event.after) == (ada.user.email, limits)
    page = ada.browser.get(page_of(ada)).content.decode()
    assert 'value="30"' in page and 'value="1.50"' in page and "Your plan allows 60." in page and "of $1.50" in page
    assert ada.browser.post(page_of(ada), {}).status_code == 302
    with tenant_scope(ada.tenant.id):
        assert ProjectLimits.objects.get().limits == {}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("requests_per_minute", "61", "Your plan, Free, allows 60 requests per minute."),
        ("tokens_per_minute", "0", "greater than or equal to 1"),
        ("concurrency", "many", "Enter a whole number."),
        ("monthly_spend_nano", "2.01", "Your plan, Free, allows $2.00 a month."),
        ("monthly_spend_nano", "a lot", "Enter an amount in US dollars, for example 50 or 12.50."),
        ("monthly_spend_nano", "NaN", "Enter an amount in US dollars"),
        ("monthly_spend_nano", "-1", "Enter an amount in US dollars"),
    ],
)
def test_a_limit_that_cannot_be_stays_in_the_form_with_its_reason(
    cast: Cast, field: str, value: str, words: str
) -> None:
    answer = cast.owner.browser.post(page_of(cast.owner), {field: value})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert words in page and f'value="{value}"' in page and "<title>Error:" in page
    with tenant_scope(cast.owner.tenant.id):
        assert not ProjectLimits.objects.exists()


def test_a_developer_sees_the_limits_and_cannot_change_them(cast: Cast) -> None:
    cast.owner.browser.post(page_of(cast.owner), {"requests_per_minute": "30"})
    page = cast.teammate.browser.get(page_of(cast.owner)).content.decode()
    assert f"<h1>Limits of {cast.owner.project.name}</h1>" in page
    assert "An owner or admin can change them." in page and "Save limits" not in page
    words = " ".join(page.split())
    assert "<dt>Requests per minute</dt><dd> 30 <span" in words and "<dd> as the organisation <span" in words
    assert cast.teammate.browser.post(page_of(cast.owner), {}).status_code == 403
    assert cast.stranger.browser.get(page_of(cast.owner)).status_code == 404


def test_the_log_says_amounts_in_dollars(cast: Cast) -> None:
    ada = cast.owner
    ada.browser.post(f"{ada.home}/billing/limit", {"monthly_spend": "1.25"})
    words = " ".join(ada.browser.get(f"{ada.home}/audit").content.decode().split())
    assert "monthly spend: $1.25</span>" in words


def test_the_organisations_own_limit_is_set_on_the_billing_page(cast: Cast) -> None:
    ada = cast.owner
    form = f"{ada.home}/billing/limit"
    assert ada.browser.post(form, {"monthly_spend": "$1.25"}).status_code == 302
    with tenant_scope(ada.tenant.id):
        assert spend_limit() == 1_250_000_000
    page = ada.browser.get(f"{ada.home}/billing/").content.decode()
    assert 'value="1.25"' in page and "of $1.25 this month" in page and "Your plan allows $2.00" in page
    refused = ada.browser.post(form, {"monthly_spend": "3"})
    assert refused.status_code == 422 and "Your plan, Free, allows $2.00 a month." in refused.content.decode()
    assert ada.browser.post(form, {"monthly_spend": ""}).status_code == 302
    with tenant_scope(ada.tenant.id):
        assert SpendLimit.objects.get().monthly_nano is None


def test_who_may_not_touch_money_may_not_touch_the_limit(cast: Cast) -> None:
    form = f"{cast.owner.home}/billing/limit"
    assert cast.teammate.browser.post(form, {"monthly_spend": "1"}).status_code == 403
    bill = make_person("bill", beside=cast.owner, role="billing")
    assert bill.browser.post(form, {"monthly_spend": "1"}).status_code == 302


def test_the_pages_say_when_a_limit_is_near_and_when_it_is_reached(cast: Cast) -> None:
    ada = cast.owner
    entitle(ada.tenant.id, spend_nano=1_000_000)
    for number, (cost, words) in enumerate(((850_000, "85% of the"), (150_000, "limit of $0.001000 is reached"))):
        store_events([call(ada.tenant.id, number, cost=cost, at=now())])
        assert words in " ".join(ada.browser.get(f"{ada.home}/billing/").content.decode().split())
        overview = ada.browser.get(f"{ada.workspace}/").content.decode()
        assert ("monthly spend limit is used" if number == 0 else "monthly spend limit is reached") in overview


def test_a_members_limits_are_set_on_their_page_and_shown_among_the_members(cast: Cast) -> None:
    ada, mate = cast.owner, cast.teammate
    with tenant_scope(ada.tenant.id):
        seat = Member.objects.get(user=mate.user)
    page = f"{ada.home}/members/{seat.public_id}/limits"
    filled = {"input_tokens_per_minute": "500", "output_tokens_per_minute": "50", "monthly_spend_nano": "0.75"}
    assert ada.browser.post(page, filled).status_code == 302
    with tenant_scope(ada.tenant.id):
        limits = {"input_tokens_per_minute": 500, "output_tokens_per_minute": 50, "monthly_spend_nano": 3 * NANO // 4}
        assert MemberLimits.objects.get().limits == limits
        event = AuditEvent.objects.get(action="member.limits_changed")
        assert (event.target_id, event.actor_label) == (seat.public_id, ada.user.email)
    shown = " ".join(mate.browser.get(page).content.decode().split())
    assert "<dd> 500 <span" in shown and "0 used this minute" in shown and "of $0.75" in shown
    assert "An owner or admin can change them." in shown
    assert mate.browser.post(page, {}).status_code == 403
    members = ada.browser.get(f"{ada.home}/members").content.decode()
    assert "500 input tokens a minute · 50 output tokens a minute · $0.75 a month" in members
    refused = ada.browser.post(page, {"output_tokens_per_minute": "60001"})
    assert refused.status_code == 422
    assert "Your plan, Free, allows 60,000 tokens per minute." in refused.content.decode()


def test_a_models_limits_are_set_on_their_page_and_listed_first(cast: Cast) -> None:
    ada = cast.owner
    listing, page = f"{ada.workspace}/limits", f"{ada.workspace}/limits/{BASE.name}"
    assert page in ada.browser.get(listing).content.decode()
    assert listing in ada.browser.get(f"{ada.workspace}/models/").content.decode()
    answer = ada.browser.post(page, {"concurrency": "1", "requests_per_minute": "7"})
    assert (answer.status_code, answer["Location"]) == (302, page)
    with tenant_scope(ada.tenant.id):
        row = ModelLimits.objects.get()
        assert (row.model, row.project_id, row.limits) == (
            BASE.name,
            ada.project.id,
            {"concurrency": 1, "requests_per_minute": 7},
        )
    assert "7 requests a minute · 1 calls at once" in ada.browser.get(listing).content.decode()
    shown = ada.browser.get(page).content.decode()
    assert 'value="7"' in shown and "0 running now." in shown and "$0.00" in shown
    assert ada.browser.post(page, {}).status_code == 302
    assert ada.browser.get(page).status_code == 200, "the page stays when its limits are lifted"
    assert ada.browser.get(f"{listing}/nobodys-model").status_code == 404
    assert cast.teammate.browser.post(page, {}).status_code == 403


def test_a_key_takes_all_kinds_of_limits(cast: Cast) -> None:
    ada = cast.owner
    page = f"{ada.workspace}/keys/{ada.key_row.public_id}"
    filled = {"name": "bot", "input_tokens_per_minute": "900", "concurrency": "3"}
    assert ada.browser.post(f"{page}/change", filled).status_code == 302
    with tenant_scope(ada.tenant.id):
        ada.key_row.refresh_from_db()
        assert ada.key_row.limits == {"input_tokens_per_minute": 900, "concurrency": 3}
    shown = " ".join(ada.browser.get(page).content.decode().split())
    assert "<dt>Input tokens per minute</dt><dd>900" in shown and "0 used now" in shown
    refused = ada.browser.post(f"{page}/change", {"name": "bot", "concurrency": "5"})
    assert refused.status_code == 422 and "allows 4 calls at the same time" in refused.content.decode()

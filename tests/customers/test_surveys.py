"""How satisfied members are: asked seldom, dismissed for good, counted right, and never anybody else's to answer."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customers.models import Answer, Contact
from customers.selectors.facts import satisfaction
from customers.surveys import APART, SETTLING, STAYS, counted, is_asked
from kit.clock import now
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Person, make_person
from tests.ops.conftest import inside, make_staff

QUESTION = "How likely are you to recommend"
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
MOMENTS = st.datetimes(dt.datetime(2026, 1, 1), dt.datetime(2029, 1, 1)).map(lambda at: at.replace(tzinfo=dt.UTC))


def settled(name: str = "ada") -> Person:
    """Somebody who joined long ago."""
    person = make_person(name)
    type(person.user).objects.filter(pk=person.user.pk).update(date_joined=now() - SETTLING - dt.timedelta(days=1))
    person.user.refresh_from_db()
    return person


def is_shown(person: Person) -> bool:
    return QUESTION in person.browser.get(f"{person.workspace}/").content.decode()


def say(person: Person, **fields: Any) -> Any:
    return person.browser.post(f"{person.home}/satisfaction", fields)


def later(person: Person, by: dt.timedelta) -> None:
    """As if the asking had been so much earlier."""
    row = Contact.objects.get(user=person.user)
    moved = {name: getattr(row, name) - by for name in ("asked_at", "closed_at") if getattr(row, name)}
    Contact.objects.filter(pk=row.pk).update(**moved)


@given(st.lists(MOMENTS, min_size=1, max_size=60), st.sets(st.integers(0, 59)))
def test_nobody_is_asked_twice_in_a_quarter_or_in_their_first_two_weeks(
    visits: list[dt.datetime], answered: set[int]
) -> None:
    asked: dt.datetime | None = None
    closed: dt.datetime | None = None
    quarters: list[tuple[int, int]] = []
    for n, at in enumerate(sorted(visits)):
        if not is_asked(joined=START, asked=asked, closed=closed, at=at):
            continue
        assert at - START >= SETTLING
        if asked is None or at - asked >= APART:
            asked = at
            quarters.append((at.year, (at.month - 1) // 3))
        else:
            assert closed is None or closed < asked
            assert at - asked < STAYS
        if n in answered:
            closed = at
    assert len(quarters) == len(set(quarters))


@given(st.lists(st.integers(0, 10), max_size=50))
def test_the_score_is_promoters_less_detractors(scores: list[int]) -> None:
    found = counted(scores)
    assert found.answers == len(scores) == found.promoters + found.passives + found.detractors
    if not scores:
        assert found.score is None
        return
    assert -100 <= (found.score or 0) <= 100
    assert counted([10] * 5).score == 100 and counted([6]).score == -100 and counted([7, 8]).score == 0
    assert counted([10, 10, 0]).score == 33 and counted([0, 0, 10]).score == -33


def test_it_is_asked_on_the_overview_answered_once_and_asked_again_after_a_quarter() -> None:
    ada = settled()
    assert is_shown(ada) and is_shown(ada)
    assert say(ada, score="9", comment="It says what it costs.\nBefore.").status_code == 302
    assert not is_shown(ada)
    assert say(ada, score="1").status_code == 422
    with tenant_scope(ada.tenant.pk):
        row = Answer.objects.get()
    assert (row.score, row.comment, row.plan, row.user) == (9, "It says what it costs.\nBefore.", "free", ada.user)
    later(ada, APART - dt.timedelta(hours=1))
    assert not is_shown(ada)
    later(ada, dt.timedelta(hours=2))
    assert is_shown(ada)


def test_a_newcomer_is_not_asked_and_a_dismissed_question_is_gone() -> None:
    assert not is_shown(make_person("new"))
    ada = settled()
    assert is_shown(ada)
    for _ in range(2):
        assert say(ada, do="dismiss").status_code == 302
    assert not is_shown(ada)
    bob = settled("bob")
    assert is_shown(bob)
    later(bob, STAYS)
    assert not is_shown(bob), "somebody who neither answers nor dismisses it is left alone after a week"
    assert say(bob, score="5").status_code == 422


def test_asked_in_one_organisation_is_asked_in_all() -> None:
    ada = settled()
    assert is_shown(ada)
    say(ada, score="10")
    second = ada.browser.post("/o/new", {"name": "Second", "currency": "usd"}, follow=True)
    assert second.status_code == 200 and QUESTION not in second.content.decode()


@pytest.mark.parametrize(
    "fields", [{}, {"score": "11"}, {"score": "-1"}, {"score": "x"}, {"score": "5", "comment": "x" * 2001}, {"do": "x"}]
)
def test_an_answer_that_is_none_is_refused_and_nothing_typed_is_lost(fields: dict[str, str]) -> None:
    ada = settled()
    is_shown(ada)
    answer = say(ada, **fields)
    assert answer.status_code == 422 and fields.get("comment", "") in answer.content.decode()
    with tenant_scope(ada.tenant.pk):
        assert not Answer.objects.exists()


def test_nobody_answers_unasked_and_no_visitor_is_asked() -> None:
    ada, carer = settled(), inside(make_staff("carer"))
    assert say(ada, score="10").status_code == 422
    carer.browser.post(f"/staff/tenants/tenant/{ada.tenant.pk}/view/", {"reason": "asked for in ticket 4711"})
    assert not is_shown_to(carer, ada)
    assert carer.browser.post(f"{ada.home}/satisfaction", {"score": "10"}).status_code == 403
    assert not Contact.objects.filter(user=carer.user).exists()


def is_shown_to(guest: Person, host: Person) -> bool:
    return QUESTION in guest.browser.get(f"{host.workspace}/").content.decode()


def test_staff_see_the_score_by_month_and_plan_with_comments_and_health_counts_it() -> None:
    ada, carer = settled(), inside(make_staff("carer"))
    is_shown(ada)
    say(ada, score="3", comment="Too <b>slow</b>")
    page = carer.browser.get("/staff/satisfaction/").content.decode()
    assert "Too &lt;b&gt;slow&lt;/b&gt;" in page and f"{now():%b %Y}" in page and ada.user.email in page
    with ops_scope("test"):
        assert satisfaction([ada.tenant.pk])[ada.tenant.pk] == 3
        Answer.ops.filter(tenant=ada.tenant.pk).update(created_at=now() - dt.timedelta(days=200))
        assert satisfaction([ada.tenant.pk]) == {}
    assert carer.browser.get("/staff/satisfaction/?page=x").status_code == 200

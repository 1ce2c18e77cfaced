"""Hints by mail: each once, in its days, to owners who take them; and the one click with which they end."""

import datetime as dt
from email import message_from_bytes
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from customers.models import Letter
from customers.sequences import HINTS, Facts, due
from customers.services.contacts import news_set, news_wanted, unsubscribe_link
from customers.services.mailing import message_mail
from customers.services.sequences import sequences_send
from kit.clock import now
from kit.ids import new_id
from tenants.models import Tenant
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Person, make_person
from tests.console import things
from tests.customers.asking import asked
from tests.customers.test_staff_pages import calls
from tests.ops.conftest import inside, make_staff

DAY = dt.timedelta(days=1)
START = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def aged(age: dt.timedelta, name: str = "ada") -> Person:
    """Somebody whose organisation signed up so long ago."""
    person = make_person(name)
    with ops_scope("test"):
        Tenant.ops.filter(pk=person.tenant.pk).update(created_at=now() - age)
    return person


def sent(person: Person) -> list[str]:
    """Subjects of the hints that went to somebody, after a tick."""
    mail.outbox.clear()
    sequences_send()
    return [one.subject for one in mail.outbox if one.to == [person.user.email]]


@given(
    st.timedeltas(dt.timedelta(0), dt.timedelta(days=60)),
    st.integers(0, 3),
    st.integers(0, 3),
    st.booleans(),
    st.integers(0, 2000),
    st.integers(0, 1000),
)
def test_every_hint_has_its_days(
    age: dt.timedelta, models: int, made: int, free: bool, used: int, allowance: int
) -> None:
    at = START + age
    facts = Facts(
        signed_up=START,
        models=models,
        calls=made,
        free=free,
        used_nano=used,
        allowance_nano=allowance,
    )
    found = due(facts, at)
    assert set(found) <= set(HINTS) and len(set(found)) == len(found)
    assert not {"first_model", "first_call"} <= set(found)
    assert "welcome" not in found or age < 2 * DAY
    assert "first_model" not in found or (3 * DAY <= age < 14 * DAY and not models)
    assert "first_call" not in found or (models and not made)
    assert "allowance_near" not in found or (free and used * 100 >= 80 * allowance > 0)


def test_a_welcome_goes_once_however_often_the_tick_comes_and_not_before_ten_minutes() -> None:
    early, ada, late = aged(dt.timedelta(minutes=5)), aged(dt.timedelta(hours=1)), aged(3 * DAY - DAY / 24)
    assert sent(ada) == ["Welcome to Tunesmith"]
    assert sent(ada) == sent(early) == sent(late) == []
    with tenant_scope(ada.tenant.pk):
        assert [row.kind for row in Letter.objects.all()] == ["hint"]


def test_who_has_no_model_after_three_days_hears_so_once_and_who_has_one_hears_of_calls() -> None:
    ada = aged(4 * DAY)
    assert sent(ada) == ["Your first model"] and sent(ada) == []
    bob = aged(8 * DAY, "bob")
    things.made_model(bob)
    assert sent(bob) == ["Call your model"]
    eve = aged(8 * DAY, "eve")
    things.made_model(eve)
    calls(eve, 3, dt.timedelta(hours=1))
    assert sent(eve) == []


def test_who_used_most_of_the_free_plan_hears_so_once() -> None:
    ada = aged(90 * DAY)
    calls(ada, 1, dt.timedelta(0), cost=10**15)
    assert sent(ada) == ["Most of this month's free usage is used"] and sent(ada) == []


def test_only_owners_of_active_organisations_hear() -> None:
    ada = aged(dt.timedelta(hours=1))
    bob = make_person("bob", beside=ada, role="developer")
    gone = aged(dt.timedelta(hours=1), "gone")
    with ops_scope("test"):
        Tenant.ops.filter(pk=gone.tenant.pk).update(status=Tenant.Status.CLOSED)
    assert sent(bob) == [] and sent(gone) == []


def test_a_refusing_mail_server_delays_and_never_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    ada = aged(dt.timedelta(hours=1))
    from django.core.mail import EmailMessage

    def refuse(self: EmailMessage, *args: Any, **kwargs: Any) -> int:
        raise ConnectionRefusedError

    with monkeypatch.context() as patched:
        patched.setattr(EmailMessage, "send", refuse)
        assert sent(ada) == []
    assert sent(ada) == ["Welcome to Tunesmith"] and sent(ada) == []


def test_the_headers_let_a_mail_program_unsubscribe_with_one_click_and_no_cookie() -> None:
    ada = aged(dt.timedelta(hours=1))
    sent(make_person("else"))
    ada = aged(dt.timedelta(hours=1), "ada")
    assert sent(ada)
    letter = next(one for one in mail.outbox if one.to == [ada.user.email])
    assert letter.extra_headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = letter.extra_headers["List-Unsubscribe"]
    assert "/mail/unsubscribe/" in link and link.strip("<>") in letter.body
    parsed = message_from_bytes(letter.message().as_bytes())
    assert parsed["List-Unsubscribe"].strip() == link and parsed["List-Unsubscribe-Post"]
    path = "/mail/unsubscribe/" + link.strip("<>").rsplit("/", 1)[-1]
    stranger = Client(enforce_csrf_checks=True)
    looked = stranger.get(path)
    assert looked.status_code == 200 and "Stop hints" in looked.content.decode()
    assert news_wanted(user_id=ada.user.pk), "programs that check links look at every one"
    for _ in range(2):
        clicked = stranger.post(path, {"List-Unsubscribe": "One-Click"})
        assert clicked.status_code == 200 and "no more hints" in clicked.content.decode()
    assert not news_wanted(user_id=ada.user.pk)
    with ops_scope("test"):
        Tenant.ops.filter(pk=ada.tenant.pk).update(created_at=now() - 4 * DAY)
    assert sent(ada) == []


def test_who_takes_no_hints_still_gets_mail_about_support() -> None:
    ada, carer = aged(dt.timedelta(hours=1)), inside(make_staff("carer"))
    news_set(user_id=ada.user.pk, wanted=False)
    thread = asked(ada)
    carer.browser.post(f"/staff/support/{thread.pk}/", {"text": "It answers again."})
    mail.outbox.clear()
    with tenant_scope(ada.tenant.pk):
        ids = list(thread.messages.model.objects.filter(thread=thread).values_list("pk", flat=True))
    for message_id in ids:
        message_mail(tenant_id=ada.tenant.pk, message_id=message_id)
    letter = next(one for one in mail.outbox if one.to == [ada.user.email])
    assert "List-Unsubscribe" not in letter.extra_headers


@pytest.mark.parametrize("token", ["x", "a:b:c", "%00", "ä", "a" * 3000])
def test_a_link_that_is_not_ours_is_a_404(token: str) -> None:
    for method in ("get", "post"):
        assert getattr(Client(raise_request_exception=False), method)(f"/mail/unsubscribe/{token}").status_code == 404


def test_a_link_of_somebody_who_is_gone_is_a_404() -> None:
    path = "/mail/unsubscribe/" + unsubscribe_link(new_id()).rsplit("/", 1)[-1]
    assert Client().post(path).status_code == 404


def test_the_choice_stands_under_the_account_and_is_changed_there() -> None:
    ada = make_person("ada")
    assert "hints for getting started" in ada.browser.get("/account/").content.decode()
    assert ada.browser.post("/account/", {"name": "Ada", "job_mail": "on"}).status_code == 302
    assert not news_wanted(user_id=ada.user.pk)
    ada.browser.post("/account/", {"name": "Ada", "job_mail": "on", "news_mail": "on"})
    assert news_wanted(user_id=ada.user.pk)
    ada.user.refresh_from_db()
    assert ada.user.job_mail

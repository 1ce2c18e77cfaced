"""Accounts: sign-up to signed-in, two-factor, sessions, and the mail in between."""

import datetime as dt
import re
import time
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from allauth.usersessions.models import UserSession
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django.urls import get_resolver

from kit.clock import now
from tenants.models import User
from tests.conftest import Cast, make_user

PASSWORD = "a long enough passphrase"


def link_in(message: Any) -> str:
    """The path of the one link of a mail."""
    links = re.findall(r"https?://\S+", message.body)
    assert len(links) == 1, message.body
    return re.sub(r"^https?://[^/]+", "", links[0])


def code_of(secret: str, steps_ago: int = 0) -> str:
    """What the authenticator app shows now, or showed some half minutes ago."""
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30 - steps_ago)))


def confirm_password(browser: Client) -> None:
    """allauth asks for the password again before it changes how somebody signs in."""
    browser.post("/account/reauthenticate/", {"password": PASSWORD})


def test_sign_up_confirm_by_mail_and_name_the_organisation(client: Client) -> None:
    address = make_user("unused").email.replace("unused", "new")
    answer = client.post("/account/signup/", {"email": address, "password1": PASSWORD})
    assert answer["Location"] == "/account/confirm-email/"
    assert client.get("/o/").status_code == 302, "not signed in before the address is confirmed"
    link = link_in(mail.outbox[-1])
    assert mail.outbox[-1].subject == "Confirm your address for Tunesmith"
    assert "Confirm your address" in client.get(link).content.decode()
    answer = client.post(link, follow=True)
    assert answer.redirect_chain[-1][0] == "/o/new"
    answer = client.post("/o/new", {"name": "New Works", "currency": "usd"}, follow=True)
    assert re.fullmatch(r"/o/new-works-[0-9a-f]+/p/default/", answer.redirect_chain[-1][0])


def test_an_organisation_needs_a_visible_name(cast: Cast) -> None:
    answer = cast.owner.browser.post("/o/new", {"name": "\u200b \u200b", "currency": "usd"})
    assert answer.status_code == 422
    assert "visible characters" in answer.content.decode()


def test_signing_up_twice_tells_the_owner_and_nobody_else(client: Client) -> None:
    user = make_user("known")
    answer = client.post("/account/signup/", {"email": user.email, "password1": PASSWORD})
    assert answer["Location"] == "/account/confirm-email/"
    assert mail.outbox[-1].subject == "You have a Tunesmith account already"


def test_a_password_is_reset_by_link(client: Client) -> None:
    user = make_user("forgetful")
    client.post("/account/password/reset/", {"email": user.email})
    answer = client.get(link_in(mail.outbox[-1]), follow=True)
    form = {"password1": "another long passphrase", "password2": "another long passphrase"}
    client.post(answer.redirect_chain[-1][0], form)
    assert User.objects.get(pk=user.pk).check_password("another long passphrase")
    assert "password was reset" in mail.outbox[-1].body


def test_an_authenticator_app_is_turned_on_and_asked_for_at_sign_in(cast: Cast) -> None:
    browser = cast.owner.browser
    confirm_password(browser)
    page = browser.get("/account/2fa/totp/activate/")
    assert b"data:image/svg" in page.content
    secret = page.context["form"].secret
    assert browser.post("/account/2fa/totp/activate/", {"code": "000000"}).status_code == 200
    browser.get("/account/2fa/totp/activate/")
    secret = browser.session["mfa.totp.secret"]
    answer = browser.post("/account/2fa/totp/activate/", {"code": code_of(secret)}, follow=True)
    assert answer.redirect_chain[-1][0] == "/account/2fa/recovery-codes/"
    assert Authenticator.objects.filter(user=cast.owner.user).count() == 2
    assert mail.outbox[-1].subject == "Authenticator app turned on"
    codes = re.findall(r"^\d{8}$", browser.get("/account/2fa/recovery-codes/download/").content.decode(), re.M)
    fresh = Client()
    answer = fresh.post("/account/login/", {"login": cast.owner.user.email, "password": PASSWORD})
    assert answer["Location"] == "/account/2fa/authenticate/"
    assert fresh.get("/o/").status_code == 302
    assert "Second step" in fresh.get("/account/2fa/authenticate/").content.decode()
    answer = fresh.post("/account/2fa/authenticate/", {"code": codes[0]}, follow=True)
    assert answer.redirect_chain[-1][0].startswith(cast.owner.home)


def test_a_code_may_come_one_step_late_opens_one_door_and_is_refused_when_older(cast: Cast) -> None:
    secret = generate_totp_secret()
    TOTP.activate(cast.owner.user, secret)

    def opens(code: str) -> bool:
        browser = Client()
        browser.post("/account/login/", {"login": cast.owner.user.email, "password": PASSWORD})
        return bool(browser.post("/account/2fa/authenticate/", {"code": code}).status_code == 302)

    time.sleep(max(0.0, time.time() % 30 - 24))  # not across the end of a step
    late = code_of(secret, steps_ago=1)
    assert not opens(code_of(secret, steps_ago=3))
    assert opens(late)
    cache.delete(TOTP(cast.owner.user.authenticator_set.get())._get_used_cache_key(late))  # what a step of time does
    assert not opens(late) and not opens(f"{late[:3]} {late[3:]}")


def test_other_sessions_are_signed_out(cast: Cast) -> None:
    here, there = Client(), Client()
    for browser in (here, there):
        browser.post("/account/login/", {"login": cast.owner.user.email, "password": PASSWORD})
        assert browser.get(cast.owner.workspace + "/").status_code == 200
    assert "This one" in here.get("/account/sessions/").content.decode()
    here.post("/account/sessions/")
    assert here.get(cast.owner.workspace + "/").status_code == 200
    assert there.get(cast.owner.workspace + "/").status_code == 302


def test_a_changed_password_ends_every_other_session(cast: Cast) -> None:
    here, there = Client(), Client()
    for browser in (here, there):
        browser.post("/account/login/", {"login": cast.owner.user.email, "password": PASSWORD})
    confirm_password(here)
    form = {"oldpassword": PASSWORD, "password1": "another long passphrase", "password2": "another long passphrase"}
    assert here.post("/account/password/change/", form).status_code == 302
    assert here.get(cast.owner.workspace + "/").status_code == 200
    assert there.get(cast.owner.workspace + "/").status_code == 302
    assert "password was changed" in mail.outbox[-1].body


def test_the_display_name_is_cleaned(cast: Cast) -> None:
    cast.owner.browser.post("/account/", {"name": "Ada \u202eLovelace"})
    assert User.objects.get(pk=cast.owner.user.pk).name == "Ada Lovelace"


def test_a_second_address_becomes_primary_once_confirmed(cast: Cast) -> None:
    browser, user = cast.owner.browser, cast.owner.user
    confirm_password(browser)
    other = make_user("spare").email.replace("spare", "other")
    browser.post("/account/email/", {"email": other, "action_add": ""})
    browser.post(link_in(next(m for m in reversed(mail.outbox) if other in m.to)))
    browser.post("/account/email/", {"email": other, "action_primary": ""})
    assert EmailAddress.objects.get(user=user, primary=True).email == other


def reachable() -> list[str]:
    """Every page of the sign-in library without a parameter."""
    found = []
    for pattern in get_resolver().url_patterns:
        if str(pattern.pattern) == "account/" and hasattr(pattern, "url_patterns"):
            found += _paths(pattern.url_patterns, "/account/")
    return found


def _paths(patterns: list[Any], prefix: str) -> list[str]:
    out: list[str] = []
    for one in patterns:
        path = prefix + str(one.pattern).lstrip("^").rstrip("$")
        if hasattr(one, "url_patterns"):
            out += _paths(one.url_patterns, path)
        elif "<" not in path and "(" not in path:
            out.append(path)
    return out


@pytest.mark.parametrize("path", reachable())
def test_no_page_of_the_library_shows_its_stock_look(path: str, cast: Cast) -> None:
    for browser in (Client(), cast.owner.browser):
        answer = browser.get(path, follow=True)
        if answer.status_code == 200 and answer["Content-Type"].startswith("text/html"):
            text = answer.content.decode()
            assert 'class="topbar"' in text, path
            assert "Menu:" not in text and "<style" not in text and "onclick" not in text, path


def test_the_use_of_a_session_is_noted_once_in_a_while_and_a_new_browser_at_once(cast: Cast) -> None:
    browser, user = cast.owner.browser, cast.owner.user
    long_ago = now() - dt.timedelta(days=2)
    for agent, seen in (("Firefox", ["Firefox"]), ("Firefox", []), ("Chrome", ["Chrome"])):
        UserSession.objects.filter(user=user).update(last_seen_at=long_ago)
        browser.get("/account/", headers={"user-agent": agent})
        noted = UserSession.objects.filter(user=user, last_seen_at__gt=long_ago)
        assert list(noted.values_list("user_agent", flat=True)) == seen

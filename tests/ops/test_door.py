"""Who gets into the staff console, for how long, and what a staff session is not."""

import time

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.core.management import call_command
from django.test import Client

from tests.conftest import Cast, Person, make_person
from tests.ops.conftest import aged, make_staff, proved

LIST = "/staff/tenants/tenant/"


def suspend_page(person: Person) -> str:
    """The address of a dangerous action."""
    return f"/staff/tenants/tenant/{person.tenant.pk}/suspend/"


def code_of(secret: str) -> str:
    """What the authenticator app shows now."""
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30))


def test_the_console_is_not_there_for_ordinary_people(cast: Cast) -> None:
    assert cast.owner.browser.get("/staff/", follow=True).status_code == 404


def test_a_visitor_is_sent_to_sign_in(client: Client) -> None:
    answer = client.get(LIST, follow=True)
    assert answer.redirect_chain[-1][0].startswith("/account/login/")


def test_staff_without_a_second_factor_are_sent_to_set_one_up(cast: Cast) -> None:
    call_command("make_staff", "--email", cast.owner.user.email, "--reason", "tests")
    answer = cast.owner.browser.get("/staff/", follow=True)
    assert answer.redirect_chain[-1][0] == "/account/2fa/"
    assert "second factor" in answer.content.decode()
    assert cast.owner.browser.get(LIST).status_code == 302


def test_recovery_codes_alone_are_not_a_second_factor(cast: Cast) -> None:
    call_command("make_staff", "--email", cast.owner.user.email, "--reason", "tests")
    Authenticator.objects.create(user=cast.owner.user, type=Authenticator.Type.RECOVERY_CODES, data={})
    assert cast.owner.browser.get("/staff/", follow=True).redirect_chain[-1][0] == "/account/2fa/"


def test_password_and_code_lead_from_the_sign_in_page_into_the_console() -> None:
    person = make_person("staff")
    call_command("make_staff", "--email", person.user.email, "--reason", "tests")
    secret = generate_totp_secret()
    TOTP.activate(person.user, secret)
    browser = Client()
    door = browser.get(LIST, follow=True).redirect_chain[-1][0]
    login = {"login": person.user.email, "password": "a long enough passphrase"}
    assert browser.post(door, login).headers["Location"] == "/account/2fa/authenticate/"
    answer = browser.post("/account/2fa/authenticate/", {"code": code_of(secret)}, follow=True)
    assert (answer.status_code, answer.request["PATH_INFO"]) == (200, LIST)
    cookie = browser.cookies["staff"]
    assert (cookie["path"], cookie["samesite"], cookie["httponly"], cookie["max-age"]) == (
        "/staff/",
        "Strict",
        True,
        1800,
    )
    assert cookie.value != browser.cookies["sessionid"].value


@pytest.mark.parametrize(("ago", "kind"), [(601, "totp"), (0, "recovery_codes")], ids=["stale", "recovery code"])
def test_an_account_must_have_shown_its_second_factor_just_now(ago: float, kind: str) -> None:
    person = make_staff()
    proved(person, ago=ago, kind=kind)
    answer = person.browser.get("/staff/login/?next=" + LIST)
    assert answer.headers["Location"] == (
        "/account/2fa/reauthenticate/?next=%2Fstaff%2Flogin%2F%3Fnext%3D%252Fstaff%252Ftenants%252Ftenant%252F"
    )
    assert "staff" not in person.browser.cookies


def test_neither_session_can_be_passed_off_as_the_other(ada: Person) -> None:
    theirs, ours = ada.browser.cookies["sessionid"].value, ada.browser.cookies["staff"].value
    forged = Client()
    forged.cookies["staff"] = theirs
    assert forged.get(LIST).status_code == 302
    forged = Client()
    forged.cookies["sessionid"] = ours
    assert forged.get(f"{ada.workspace}/jobs/").status_code == 302
    assert ada.browser.get(LIST).status_code == 200, "the real ones still work"
    assert ada.browser.get(f"{ada.workspace}/jobs/").status_code == 200


def test_leaving_the_console_ends_only_the_staff_session(ada: Person) -> None:
    ours = ada.browser.cookies["staff"].value
    ada.browser.post("/staff/logout/")
    assert ada.browser.cookies["staff"].value == ""
    again = Client()
    again.cookies["staff"] = ours
    assert again.get(LIST).status_code == 302
    assert ada.browser.get(f"{ada.workspace}/jobs/").status_code == 200


def test_a_shift_ends_after_eight_hours_however_busy(ada: Person) -> None:
    aged(ada, entered=8 * 3600 - 60)
    assert ada.browser.get(LIST).status_code == 200
    aged(ada, entered=8 * 3600 + 1)
    assert ada.browser.get(LIST).status_code == 302


def test_losing_the_role_or_the_factor_closes_the_console_at_once(ada: Person) -> None:
    assert ada.browser.get(LIST).status_code == 200
    Authenticator.objects.filter(user=ada.user).delete()
    assert ada.browser.get(LIST).status_code == 302
    TOTP.activate(ada.user, generate_totp_secret())
    assert ada.browser.get(LIST).status_code == 200
    type(ada.user).objects.filter(pk=ada.user.pk).update(is_staff=False)
    assert ada.browser.get(LIST).status_code == 302


def test_a_changed_password_ends_the_staff_session(ada: Person) -> None:
    ada.user.set_password("another long passphrase")
    ada.user.save()
    assert ada.browser.get(LIST).status_code == 302


def test_a_dangerous_action_asks_for_the_second_factor_again(ada: Person, cast: Cast) -> None:
    path = suspend_page(cast.owner)
    assert ada.browser.get(path).status_code == 200
    aged(ada, proved=11 * 60)
    answer = ada.browser.get(path)
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/staff/login/?next={path.replace('/', '%2F')}")
    assert ada.browser.post(path, {"reason": "x"}).status_code == 422, "a form opened in time may be sent"
    aged(ada, proved=16 * 60)
    assert ada.browser.post(path, {"reason": "asked for in ticket 1"}).status_code == 302
    assert ada.browser.get(LIST).status_code == 200, "looking goes on"
    proved(ada)
    assert ada.browser.get(f"/staff/login/?next={path}").headers["Location"] == path
    assert ada.browser.get(path).status_code == 200


@pytest.mark.parametrize(
    "wanted", ["https://evil.example/", "//evil.example", "/staff//evil.example", "/o/", "/staff/login/", "\x00"]
)
def test_the_door_leads_only_into_the_console(ada: Person, wanted: str) -> None:
    proved(ada)
    assert ada.browser.get("/staff/login/", {"next": wanted}).headers["Location"] == "/staff/"

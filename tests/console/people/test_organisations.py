"""Organisations, members, invitations and settings, as people of each role meet them."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings as configured
from django.core import mail
from django.test import Client

from billing.services.entitlements import override_revoke, override_set
from kit.clock import now
from tenants.models import ApiKey, AuditEvent, Invitation, Member, Project, Tenant
from tenants.scope import ops_scope, tenant_scope
from tenants.services.keys import key_create
from tests.conftest import Cast, Person, make_person, make_user
from tests.console.things import made_deployment, made_job

PASSWORD = "a long enough passphrase"


def link_in(message: Any) -> str:
    """The path of the invitation in a mail."""
    return re.sub(r"^https?://[^/]+", "", re.findall(r"https?://\S+", message.body)[0])


def invite(owner: Person, email: str, role: str = "developer") -> str:
    """Invite somebody through the page; the path they get by mail."""
    answer = owner.browser.post(f"{owner.home}/members", {"email": email, "role": role})
    assert answer.status_code == 302, answer.content.decode()[:3000]
    return link_in(mail.outbox[-1])


def role_of(person: Any, tenant: Tenant) -> str | None:
    """The role of a user in a tenant."""
    with tenant_scope(tenant.pk):
        found: str | None = Member.objects.filter(user=person).values_list("role", flat=True).first()
        return found


def test_an_invited_stranger_signs_up_and_joins_without_a_second_mail(cast: Cast, client: Client) -> None:
    address = make_user("unused").email.replace("unused", "guest")
    link = invite(cast.owner, address)
    assert "Create an account to join" in client.get(link).content.decode()
    sent = len(mail.outbox)
    form = {"email": address, "password1": PASSWORD, "next": link}
    answer = client.post("/account/signup/", form, follow=True)
    assert answer.redirect_chain[-1][0] == link
    assert len(mail.outbox) == sent
    answer = client.post(link, follow=True)
    assert answer.redirect_chain[-1][0] == cast.owner.workspace + "/"
    assert client.get(link).status_code == 404, "it works once"


def test_an_invitation_is_for_its_address_alone(cast: Cast) -> None:
    guest = make_user("guest")
    link = invite(cast.owner, guest.email)
    page = cast.stranger.browser.get(link).content.decode()
    assert "You are signed in as" in page
    assert cast.stranger.browser.post(link).status_code == 403
    assert role_of(cast.stranger.user, cast.owner.tenant) is None


def test_the_invitation_of_another_address_does_not_confirm_mine(cast: Cast, client: Client) -> None:
    client.get(invite(cast.owner, "guest@example.com"))
    answer = client.post("/account/signup/", {"email": "somebody-else@example.com", "password1": PASSWORD})
    assert answer["Location"] == "/account/confirm-email/"


def test_a_renewed_invitation_ends_the_former_link_and_a_withdrawn_one_the_last(cast: Cast, client: Client) -> None:
    first = invite(cast.owner, "guest@example.com")
    with tenant_scope(cast.owner.tenant.pk):
        row = Invitation.objects.get()
    base = f"{cast.owner.home}/invitations/{row.public_id}"
    cast.owner.browser.post(f"{base}/resend")
    second = link_in(mail.outbox[-1])
    assert (client.get(first).status_code, client.get(second).status_code) == (404, 200)
    cast.owner.browser.post(f"{base}/withdraw")
    assert client.get(second).status_code == 404


def test_an_expired_invitation_says_so(cast: Cast, client: Client) -> None:
    link = invite(cast.owner, "guest@example.com")
    with tenant_scope(cast.owner.tenant.pk):
        Invitation.objects.update(expires_at=now())
    answer = client.get(link)
    assert answer.status_code == 404
    assert "Ask for a new one" in answer.content.decode()


def test_a_full_plan_invites_nobody_more(cast: Cast) -> None:
    assert role_of(cast.teammate.user, cast.owner.tenant) == "developer"  # the second of three seats
    invite(cast.owner, "third@example.com")
    answer = cast.owner.browser.post(f"{cast.owner.home}/members", {"email": "fourth@example.com", "role": "viewer"})
    assert answer.status_code == 422
    assert "seats" in answer.content.decode()
    invite(cast.owner, "third@example.com", "viewer")  # the same person again takes no further seat


def test_an_invitation_beyond_the_seats_of_a_plan_that_shrank_is_refused_and_stays_open(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.pk):
        grant = override_set(limits={"members": 9}, reason="tests", created_by="tests")
    guests = [make_user(f"guest{number}") for number in range(3)]
    links = [invite(cast.owner, guest.email) for guest in guests]
    with tenant_scope(cast.owner.tenant.pk):
        override_revoke(override_id=grant.pk, reason="tests")
    answers = []
    for guest, link in zip(guests, links, strict=True):
        browser = Client()
        browser.force_login(guest, backend=configured.AUTHENTICATION_BACKENDS[0])
        answers.append(browser.post(link))
    assert [answer.status_code for answer in answers] == [302, 302, 409], "the free plan has three seats"
    words = answers[2].content.decode()
    assert "has 3 seats, and all are taken" in words and "Ask whoever invited you" in words
    assert role_of(guests[2], cast.owner.tenant) is None
    with tenant_scope(cast.owner.tenant.pk):
        assert Invitation.objects.filter(accepted_at=None, revoked_at=None).count() == 1


def test_archiving_a_project_ends_its_jobs_and_deployments_and_says_so_before(cast: Cast) -> None:
    ada = cast.owner
    jobs = [made_job(ada, state="queued"), made_job(ada, state="cancelled")]
    deployment = made_deployment(ada)
    ada.browser.post(f"{ada.home}/settings/projects", {"name": "Second"})
    page = f"{ada.home}/settings/projects/{ada.project.public_id}/archive"
    words = " ".join(ada.browser.get(page).content.decode().split())
    assert "1 job that waits or runs is cancelled." in words and "1 deployment stops." in words
    assert ada.browser.post(page).status_code == 302
    with tenant_scope(ada.tenant.pk):
        for row in (*jobs, deployment):
            row.refresh_from_db()
        seen = set(AuditEvent.objects.filter(actor_label=ada.user.email).values_list("action", flat=True))
    assert [job.state for job in jobs] == ["cancelled", "cancelled"] and deployment.state == "stopped"
    assert {"project.archived", "job.cancelled", "deployment.stopped"} <= seen


def test_closing_an_organisation_ends_its_jobs_and_deployments_and_says_so_before(cast: Cast) -> None:
    ada = cast.owner
    job, deployment = made_job(ada, state="queued"), made_deployment(ada)
    page = f"{ada.home}/settings/close"
    words = " ".join(ada.browser.get(page).content.decode().split())
    assert "1 job that waits or runs is cancelled." in words and "1 deployment stops." in words
    assert ada.browser.post(page, {"confirm_name": ada.tenant.name}).status_code == 302
    with tenant_scope(ada.tenant.pk):
        job.refresh_from_db()
        deployment.refresh_from_db()
    assert (job.state, deployment.state) == ("cancelled", "stopped")
    assert deployment.reason == "The organisation was closed."


def test_the_last_owner_can_neither_step_down_nor_leave(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.pk):
        seat = Member.objects.get(user=cast.owner.user)
    cast.owner.browser.post(f"{cast.owner.home}/members/{seat.public_id}/role", {"role": "viewer"})
    answer = cast.owner.browser.post(f"{cast.owner.home}/settings/leave")
    assert answer.status_code == 409
    assert role_of(cast.owner.user, cast.owner.tenant) == "owner"


def test_an_admin_can_neither_make_nor_touch_owners(cast: Cast) -> None:
    admin, bob = make_person("root", beside=cast.owner, role="admin"), cast.teammate.user
    with tenant_scope(cast.owner.tenant.pk):
        seats = {seat.user_id: seat.public_id for seat in Member.objects.all()}
    base = f"{cast.owner.home}/members"
    mate, owner = seats[bob.pk], seats[cast.owner.user.pk]
    assert admin.browser.post(f"{base}/{mate}/role", {"role": "owner"}).status_code == 403
    assert admin.browser.post(f"{base}/{owner}/role", {"role": "viewer"}).status_code == 403
    assert admin.browser.post(f"{base}/{owner}/remove").status_code == 403
    assert admin.browser.post(base, {"email": "x@example.com", "role": "owner"}).status_code == 422
    assert admin.browser.post(f"{base}/{mate}/role", {"role": "viewer"}).status_code == 302
    assert role_of(bob, cast.owner.tenant) == "viewer"
    assert admin.browser.post(f"{base}/{mate}/remove").status_code == 302
    assert cast.teammate.browser.get(cast.owner.workspace + "/").status_code == 404


@pytest.mark.parametrize("loss", ["lowered", "removed", "left", "while it was being sent"])
def test_an_invitation_ends_with_the_role_of_who_sent_it(cast: Cast, loss: str) -> None:
    ada, root, friend = cast.owner, make_person("root", beside=cast.owner, role="admin"), make_user("friend")
    with tenant_scope(ada.tenant.pk):
        override_set(limits={"members": 9}, reason="many seats", created_by="tests")
    link, hers = invite(root, friend.email, "admin"), invite(ada, "other@example.com", "viewer")
    with tenant_scope(ada.tenant.pk):
        seat = Member.objects.get(user=root.user)
    if loss == "lowered":
        ada.browser.post(f"{ada.home}/members/{seat.public_id}/role", {"role": "developer"})
    elif loss == "removed":
        ada.browser.post(f"{ada.home}/members/{seat.public_id}/remove")
    elif loss == "left":
        root.browser.post(f"{root.home}/settings/leave")
    else:
        with tenant_scope(ada.tenant.pk):
            Member.objects.filter(pk=seat.pk).update(role="viewer")
    browser = Client()
    browser.force_login(friend, backend=configured.AUTHENTICATION_BACKENDS[0])
    assert browser.post(link).status_code == 404
    assert role_of(friend, ada.tenant) is None
    listed = ada.browser.get(f"{ada.home}/members").content.decode()
    assert (friend.email in listed) is (loss == "while it was being sent") and "other@example.com" in listed
    assert browser.get(hers).status_code == 200


def test_whoever_loses_a_role_or_a_seat_is_told_of_with_the_keys_that_stay(cast: Cast) -> None:
    ada, mate = cast.owner, cast.teammate
    with tenant_scope(ada.tenant.pk):
        seat = Member.objects.get(user=mate.user)
        expired, _ = key_create(project=ada.project, name="old", created_by=mate.user)
        ApiKey.objects.filter(pk=expired.pk).update(expires_at=now())
    page = f"{ada.home}/members"
    assert "1 API key they made goes on working" in ada.browser.get(f"{page}/{seat.public_id}/remove").content.decode()
    for role, told in (("admin", False), ("viewer", True)):
        ada.browser.post(f"{page}/{seat.public_id}/role", {"role": role})
        assert ("1 API key they made goes on working." in ada.browser.get(page).content.decode()) is told
    assert mate.api.get("/v1/models").status_code == 200


DENIED: dict[str, list[tuple[str, str, dict[str, str]]]] = {
    "viewer": [
        ("get", "/p/default/keys", {}),
        ("post", "/p/default/keys/new", {"name": "x"}),
        ("post", "/members", {"email": "x@example.com", "role": "viewer"}),
        ("get", "/audit", {}),
        ("get", "/audit.csv", {}),
        ("post", "/settings", {"name": "x"}),
        ("get", "/settings/close", {}),
    ],
    "developer": [("post", "/members", {"email": "x@example.com", "role": "viewer"}), ("get", "/audit", {})],
    "billing": [("get", "/p/default/keys", {}), ("post", "/settings/projects", {"name": "x"})],
    "admin": [("post", "/settings/close", {"confirm_name": "x"})],
}


@pytest.mark.parametrize("role", DENIED)
def test_a_role_is_told_what_it_lacks(role: str, cast: Cast) -> None:
    person = make_person("some", beside=cast.owner, role=role)
    for method, path, data in DENIED[role]:
        answer = getattr(person.browser, method)(cast.owner.home + path, data)
        assert answer.status_code == 403, (method, path)
        assert f"Your role, {role}, does not include" in answer.content.decode()


def test_a_stranger_sees_404_everywhere(cast: Cast) -> None:
    for path in ("/members", "/audit", "/settings", "/p/default/keys", "/audit.csv", ""):
        assert cast.stranger.browser.get(cast.owner.home + path, follow=True).status_code == 404


def test_projects_are_made_renamed_and_archived_within_the_plan(cast: Cast) -> None:
    browser, home = cast.owner.browser, cast.owner.home
    assert browser.post(f"{home}/settings/projects", {"name": "Second"}).status_code == 302
    answer = browser.post(f"{home}/settings/projects", {"name": "Third"})
    assert (answer.status_code, "larger plan" in answer.content.decode()) == (422, True)
    with tenant_scope(cast.owner.tenant.pk):
        second = Project.objects.get(slug="second")
    base = f"{home}/settings/projects/{second.public_id}"
    browser.post(base, {"name": "Renamed"})
    assert "Renamed" in browser.get(f"{home}/settings").content.decode()
    assert "1 API key" in browser.get(
        f"{home}/settings/projects/{cast.owner.project.public_id}/archive"
    ).content.decode().replace("2 API keys", "1 API key")
    browser.post(f"{home}/settings/projects/{cast.owner.project.public_id}/archive")
    assert cast.owner.api.get("/v1/models").status_code == 401, "its keys are revoked"
    assert browser.get(f"{home}/p/second/").status_code == 200
    assert browser.get(cast.owner.workspace + "/").status_code == 404
    answer = browser.post(f"{base}/archive")
    assert answer.status_code == 409, "an organisation keeps a project"


def test_shared_training_is_off_until_somebody_who_may_turns_it_on_and_the_log_says_who(cast: Cast) -> None:
    browser, home = cast.owner.browser, cast.owner.home
    assert "Off: every job" in browser.get(f"{home}/settings").content.decode()
    assert cast.teammate.browser.post(f"{home}/settings/training", {"shared_training": "on"}).status_code == 403
    assert "Turn on" not in cast.teammate.browser.get(f"{home}/settings").content.decode()
    for wish in ("on", "on", "off"):
        assert browser.post(f"{home}/settings/training", {"shared_training": wish}).status_code == 302
        shown = browser.get(f"{home}/settings").content.decode()
        assert ("On: a small LoRA job" in shown) == (wish == "on")
    with tenant_scope(cast.owner.tenant.pk):
        told = AuditEvent.objects.filter(action="tenant.shared_training_set").order_by("pk")
        assert [(one.after, one.actor_label) for one in told] == [
            ({"shared_training": True}, cast.owner.user.email),
            ({"shared_training": False}, cast.owner.user.email),
        ]


def test_closing_needs_the_name_and_shuts_every_door(cast: Cast) -> None:
    browser, home, tenant = cast.owner.browser, cast.owner.home, cast.owner.tenant
    link = invite(cast.owner, "guest@example.com")
    assert browser.post(f"{home}/settings/close", {"confirm_name": "wrong"}).status_code == 422
    assert browser.post(f"{home}/settings/close", {"confirm_name": tenant.name}).status_code == 302
    assert browser.get(f"{home}/members").status_code == 404
    assert cast.owner.api.get("/v1/models").status_code == 403
    assert browser.get("/o/", follow=True).redirect_chain[-1][0] == "/o/new"
    assert Client().get(link).status_code == 404


def test_a_suspended_organisation_can_be_read_and_not_changed(cast: Cast) -> None:
    with ops_scope("test"):
        Tenant.ops.filter(pk=cast.owner.tenant.pk).update(status="suspended")
    page = cast.owner.browser.get(f"{cast.owner.home}/members")
    assert (page.status_code, "is suspended" in page.content.decode()) == (200, True)
    answer = cast.owner.browser.post(f"{cast.owner.home}/settings", {"name": "x"})
    assert answer.status_code == 403


def test_several_organisations_are_offered_and_the_last_one_is_remembered(cast: Cast) -> None:
    user, browser = cast.owner.user, cast.owner.browser
    other = make_person("host")
    with tenant_scope(other.tenant.pk):
        Member.objects.create(user=user, role="viewer")
    page = browser.get("/o/").content.decode()
    assert cast.owner.tenant.name in page and other.tenant.name in page
    browser.get(other.home + "/")
    assert browser.get("/o/")["Location"] == other.home + "/"
    assert browser.get("/o/?all").status_code == 200


def test_every_change_on_these_pages_is_in_the_log(cast: Cast) -> None:
    browser, home, bob = cast.owner.browser, cast.owner.home, cast.teammate.user
    with tenant_scope(cast.owner.tenant.pk):
        mate = Member.objects.get(user=bob).public_id
    invite(cast.owner, "guest@example.com")
    browser.post(f"{home}/members/{mate}/role", {"role": "viewer"})
    browser.post(f"{home}/members/{mate}/remove")
    browser.post(f"{home}/settings", {"name": "Other"})
    browser.post(f"{home}/settings/projects", {"name": "Second"})
    with tenant_scope(cast.owner.tenant.pk):
        seen = set(AuditEvent.objects.filter(actor_label=cast.owner.user.email).values_list("action", flat=True))
    wanted = {"member.invited", "member.role_changed", "member.removed", "tenant.renamed", "project.created"}
    assert wanted <= seen


def test_the_development_mailbox_shows_mail_with_its_link(
    client: Client, settings: Any, tmp_path: Any, caplog: Any, cast: Cast
) -> None:
    assert client.get("/dev/mail").status_code == 404
    settings.DEBUG, settings.MAIL_DIR = True, tmp_path
    settings.EMAIL_BACKEND = "kit.mail.DevelopmentBackend"
    assert "No mail yet" in client.get("/dev/mail").content.decode()
    with caplog.at_level("INFO"):
        cast.owner.browser.post(f"{cast.owner.home}/members", {"email": "guest@example.com", "role": "viewer"})
    line = next(r.getMessage() for r in caplog.records if r.name == "kit.mail")
    path = line.split(configured.BASE_URL, 1)[1]
    page = client.get(path).content.decode()
    assert "guest@example.com" in page
    assert re.search(r'<a href="http[^"]+/invitations/[\w-]+">', page)
    assert "Copy link" in cast.owner.browser.get(f"{cast.owner.home}/members").content.decode()
    assert client.get("/dev/mail/mail_..%2f..%2fetc").status_code == 404
    assert client.get("/dev/mail/mail_00000000000000000000000000").status_code == 404


BAD: list[Callable[[Person], Any]] = [
    lambda p: p.browser.post(f"{p.home}/members", {"email": "not an address", "role": "viewer"}),
    lambda p: p.browser.post(f"{p.home}/members", {"email": "a@example.com", "role": "emperor"}),
    lambda p: p.browser.post(f"{p.home}/members", {}),
    lambda p: p.browser.post(f"{p.home}/settings", {"name": "x" * 101}),
    lambda p: p.browser.post(f"{p.home}/settings/projects", {"name": ""}),
]


@pytest.mark.parametrize("send", BAD)
def test_bad_input_is_explained_on_the_form(send: Callable[[Person], Any], cast: Cast) -> None:
    answer = send(cast.owner)
    assert answer.status_code == 422
    assert "There is a problem" in answer.content.decode()


def test_an_organisation_cannot_fill_a_mailbox_with_invitations(cast: Cast) -> None:
    invite(cast.owner, "guest@example.com")
    with tenant_scope(cast.owner.tenant.pk):
        path = f"{cast.owner.home}/invitations/{Invitation.objects.get().public_id}/resend"
    answers = [cast.owner.browser.post(path).status_code for _ in range(31)]
    assert answers[:29] == [302] * 29
    assert answers[29:] == [429, 429]


def test_one_person_owns_ten_organisations_at_most(cast: Cast) -> None:
    for number in range(9):
        answer = cast.owner.browser.post("/o/new", {"name": f"Works {number}", "currency": "usd"})
        assert answer.status_code == 302
    answer = cast.owner.browser.post("/o/new", {"name": "One more", "currency": "usd"})
    assert (answer.status_code, "which is the limit" in answer.content.decode()) == (422, True)

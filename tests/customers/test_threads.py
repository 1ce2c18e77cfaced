"""Support threads through both doors: asked in the console, answered by staff, with one mail to each side."""

import contextlib
import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core import mail
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.test import Client

from customers import limits, states
from customers.models import Attachment, Letter, Message, Thread
from customers.services.mailing import message_mail
from customers.tasks import mail as mail_task
from kit.models import OutboxEntry
from tenants.models import AuditEvent, Tenant
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Person, make_person
from tests.customers.asking import SUBJECT, ask, asked, asked_with_file
from tests.ops.conftest import inside, make_staff

ANSWER = "A GPU was replaced. It answers again."


@pytest.fixture
def carer() -> Person:
    """A member of staff at the desk."""
    return inside(make_staff("carer"))


def desk(thread: Thread) -> str:
    return f"/staff/support/{thread.pk}/"


def place(person: Person, thread: Thread) -> str:
    return f"{person.home}/support/{thread.public_id}/"


def again(thread: Thread) -> Thread:
    with ops_scope("test"):
        return Thread.ops.get(pk=thread.pk)


def told(thread: Thread) -> int:
    """Let the mails of a thread's messages go; how many did."""
    with ops_scope("test"):
        rows = list(Message.ops.filter(thread=thread).order_by("created_at"))
    return sum(message_mail(tenant_id=row.tenant_id, message_id=row.pk) for row in rows)


def test_a_thread_goes_from_question_to_answer_to_solved_and_is_reopened(carer: Person) -> None:
    ada = make_person("ada")
    assert "No threads yet." in ada.browser.get(f"{ada.home}/support/").content.decode()
    thread = asked(ada)
    assert thread.state == "open"
    desk_page = carer.browser.get("/staff/support/").content.decode()
    assert SUBJECT in desk_page and ada.tenant.name in desk_page
    assert "questions that wait for us" in carer.browser.get("/staff/").content.decode()
    assert "Today it says 503." in carer.browser.get(desk(thread)).content.decode()
    assert carer.browser.post(desk(thread), {"text": ANSWER}).status_code == 302
    assert again(thread).state == "waiting"
    listed = ada.browser.get(f"{ada.home}/support/").content.decode()
    assert "New answer" in listed and "unread" in listed
    shown = ada.browser.get(place(ada, thread)).content.decode()
    assert ANSWER in shown and carer.user.name in shown and carer.user.email not in shown
    assert "New answer" not in ada.browser.get(f"{ada.home}/support/").content.decode()
    assert ada.browser.post(f"{place(ada, thread)}solve").status_code == 302
    assert again(thread).state == "solved"
    assert ada.browser.post(f"{place(ada, thread)}reply", {"text": "It stopped again."}).status_code == 302
    assert again(thread).state == "reopened" and again(thread).is_news_to_staff
    carer.browser.post(desk(thread), {"do": "solve"})
    assert again(thread).state == "solved"
    with tenant_scope(ada.tenant.pk):
        lines = AuditEvent.objects.filter(action__startswith="support.").order_by("at")
        found = list(lines.values_list("action", "actor_kind"))
    assert found == [
        ("support.opened", "user"),
        ("support.answered", "staff"),
        ("support.solved", "user"),
        ("support.solved", "staff"),
    ]


def test_unread_is_each_members_own(carer: Person) -> None:
    ada = make_person("ada")
    bob = make_person("bob", beside=ada, role="viewer")
    thread = asked(ada)
    carer.browser.post(desk(thread), {"text": ANSWER})
    for member in (ada, bob):
        assert "New answer" in member.browser.get(f"{ada.home}/support/").content.decode()
        member.browser.get(place(ada, thread))
        assert "New answer" not in member.browser.get(f"{ada.home}/support/").content.decode()


@pytest.mark.parametrize("event", ["asked", "answered", "solved"])
@pytest.mark.parametrize("state", states.STATES)
def test_every_event_leads_somewhere_from_every_state(state: str, event: Any) -> None:
    assert states.after(state, event) in states.STATES
    assert (states.after(state, "asked") in states.FOR_STAFF) and states.after(state, "answered") == states.WAITING


def test_each_side_hears_by_mail_once_however_often_the_bell_rings(carer: Person, settings: Any) -> None:
    settings.SUPPORT_MAIL = ["desk@example.com", "boss@example.com"]
    ada = make_person("ada")
    bob = make_person("bob", beside=ada, role="developer")
    make_person("eve", beside=ada, role="viewer")
    thread = asked(ada)
    bob.browser.post(f"{place(ada, thread)}reply", {"text": "I see it as well."})
    mail.outbox.clear()
    assert told(thread) == 4
    assert sorted(one.to[0] for one in mail.outbox) == sorted(2 * settings.SUPPORT_MAIL)
    assert all(desk(thread) in one.body and "Today it says 503." in one.body for one in mail.outbox[:2])
    carer.browser.post(desk(thread), {"text": ANSWER})
    mail.outbox.clear()
    assert told(thread) == 2
    assert sorted(one.to[0] for one in mail.outbox) == sorted([ada.user.email, bob.user.email])
    assert place(ada, thread) in mail.outbox[0].body and carer.user.email not in mail.outbox[0].body
    assert told(thread) == told(thread) == 0
    with tenant_scope(ada.tenant.pk):
        assert Letter.objects.count() == 6
        assert not Letter.objects.filter(key__contains="@").exists()


def test_four_workers_at_once_send_one_mail(settings: Any) -> None:
    settings.SUPPORT_MAIL = ["desk@example.com"]
    thread = asked(make_person("ada"))
    with ops_scope("test"):
        row = Message.ops.get(thread=thread)

    def work(_n: int) -> int:
        try:
            return message_mail(tenant_id=row.tenant_id, message_id=row.pk)
        finally:
            connections.close_all()

    mail.outbox.clear()
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(8))) == 1
    assert len(mail.outbox) == 1


def test_a_mail_that_the_server_refuses_goes_later_and_only_to_who_has_not_got_it(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SUPPORT_MAIL = ["one@example.com", "two@example.com"]
    thread = asked(make_person("ada"))
    mail.outbox.clear()
    from django.core.mail import EmailMessage

    really = EmailMessage.send

    def picky(self: EmailMessage, *args: Any, **kwargs: Any) -> int:
        if self.to == ["two@example.com"]:
            raise ConnectionRefusedError
        return really(self, *args, **kwargs)

    monkeypatch.setattr(EmailMessage, "send", picky)
    with pytest.raises(OSError):
        told(thread)
    monkeypatch.setattr(EmailMessage, "send", really)
    assert told(thread) == 1
    assert [one.to[0] for one in mail.outbox] == ["one@example.com", "two@example.com"]


def test_a_member_who_left_hears_nothing_more(carer: Person) -> None:
    ada = make_person("ada")
    bob = make_person("bob", beside=ada, role="developer")
    thread = asked(bob)
    with tenant_scope(ada.tenant.pk):
        bob.user.memberships.all().delete()
    carer.browser.post(desk(thread), {"text": ANSWER})
    mail.outbox.clear()
    told(thread)
    assert [one.to for one in mail.outbox if ANSWER in one.body] == []


def test_a_message_rings_its_task_after_the_commit(settings: Any) -> None:
    settings.SUPPORT_MAIL = ["desk@example.com"]
    ada = make_person("ada")
    before = OutboxEntry.objects.count()
    thread = asked(ada)
    with ops_scope("test"):
        row = Message.ops.get(thread=thread)
    assert OutboxEntry.objects.count() >= before
    mail.outbox.clear()
    assert mail_task.apply(args=[str(row.tenant_id), str(row.pk)]).get() == 1
    assert len(mail.outbox) == 1 and mail.outbox[0].subject == f"[Tunesmith] {SUBJECT}"


def test_a_file_comes_with_a_message_and_is_only_ever_a_download(carer: Person) -> None:
    ada = make_person("ada")
    thread, file = asked_with_file(ada, b"<script>alert(1)</script>", "../../evil.html")
    assert file.filename == "evil.html"
    for answer in (
        ada.browser.get(f"{place(ada, thread)}files/{file.public_id}"),
        carer.browser.get(f"{desk(thread)}files/{file.pk}/"),
    ):
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert b"".join(answer.streaming_content) == b"<script>alert(1)</script>"
    assert "evil.html" in carer.browser.get(desk(thread)).content.decode()


def test_staff_send_a_file_with_their_answer(carer: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = make_person("ada")
    thread = asked(ada)
    fix = SimpleUploadedFile("fix.txt", b"as it works")
    assert carer.browser.post(desk(thread), {"text": ANSWER, "attachment": fix}).status_code == 302
    with tenant_scope(ada.tenant.pk):
        file = Attachment.objects.get(message__thread=thread)
    got = ada.browser.get(f"{place(ada, thread)}files/{file.public_id}")
    assert (got.status_code, b"".join(got.streaming_content)) == (200, b"as it works")
    assert make_person("bob").browser.get(f"{place(ada, thread)}files/{file.public_id}").status_code == 404
    monkeypatch.setattr(limits, "ATTACHMENTS", 1)
    full = carer.browser.post(desk(thread), {"text": "more", "attachment": SimpleUploadedFile("b.txt", b"x")})
    assert full.status_code == 422 and "holds 1 files" in full.content.decode()
    empty = carer.browser.post(desk(thread), {"text": "kept", "attachment": SimpleUploadedFile("c.txt", b"")})
    assert empty.status_code == 422 and "The file is empty." in empty.content.decode()
    assert "kept" in empty.content.decode(), "nothing typed is lost"
    carer.browser.post(desk(thread), {"do": "solve", "attachment": SimpleUploadedFile("d.txt", b"x")})
    assert len(default_storage.listdir(f"t/{ada.tenant.pk}/files")[1]) == 1
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = carer.browser.cookies
    assert strict.post(desk(thread), {"text": "from elsewhere"}).status_code == 403


def test_a_file_that_is_too_large_or_empty_is_refused_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ada = make_person("ada")
    monkeypatch.setattr(limits, "ATTACHMENT_BYTES", 1000)
    for content, words in ((b"x" * 1001, "Send a smaller one."), (b"", "The file is empty.")):
        answer = ask(ada, attachment=SimpleUploadedFile("a.log", content))
        assert answer.status_code == 422 and words in answer.content.decode()
        assert "It answered yesterday." in answer.content.decode(), "nothing typed is lost"
    refused = ask(ada, subject="", attachment=SimpleUploadedFile("a.log", b"x"))
    assert refused.status_code == 422
    with tenant_scope(ada.tenant.pk):
        assert not Thread.objects.exists() and not Attachment.objects.exists()
    with contextlib.suppress(FileNotFoundError):
        assert default_storage.listdir(f"t/{ada.tenant.pk}/files") == ([], [])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"subject": ""}, "Say in a few words"),
        ({"text": ""}, "Write what we are to know."),
        ({"text": " \r\n\t "}, "Write what we are to know."),
        ({"subject": "x" * 151}, "at most 150"),
        ({"text": "x" * 10_001}, "at most 10000"),
        ({"subject": "\u200b\u200b"}, "subject needs 1 to 150 visible characters"),
        ({"text": "\u200b\x01"}, "Write 1 to 10,000 characters."),
    ],
)
def test_words_that_are_none_are_refused_in_words(fields: dict[str, str], words: str) -> None:
    answer = ask(make_person("ada"), **fields)
    assert (answer.status_code, words in answer.content.decode()) == (422, True)


def test_a_nul_is_no_fault_of_ours() -> None:
    assert ask(make_person("ada"), text="a\x00b").status_code in (302, 400, 422)


def test_too_many_questions_messages_and_files_are_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    ada = make_person("ada")
    monkeypatch.setattr(limits, "OPEN_THREADS", 1)
    thread = asked(ada)
    refused = ask(ada)
    assert refused.status_code == 422 and "are not solved yet" in refused.content.decode()
    monkeypatch.setattr(limits, "MESSAGES", 1)
    full = ada.browser.post(f"{place(ada, thread)}reply", {"text": "more"})
    assert full.status_code == 422 and "Open another" in full.content.decode()
    monkeypatch.setattr(limits, "MESSAGES_PER_HOUR", 1)
    quick = ada.browser.post(f"{place(ada, thread)}reply", {"text": "more"})
    assert quick.status_code == 422 and "in the last hour" in quick.content.decode()
    with ops_scope("test"):
        Message.ops.filter(thread=thread).update(created_at=thread.created_at - dt.timedelta(hours=2))
    monkeypatch.setattr(limits, "MESSAGES", 10)
    monkeypatch.setattr(limits, "ATTACHMENTS", 0)
    full = ada.browser.post(
        f"{place(ada, thread)}reply", {"text": "more", "attachment": SimpleUploadedFile("a.log", b"x")}
    )
    assert full.status_code == 422 and "holds 0 files" in full.content.decode()
    with tenant_scope(ada.tenant.pk):
        assert Message.objects.count() == 1


def test_a_suspended_organisation_can_still_write_and_is_led_there() -> None:
    ada = make_person("ada")
    with ops_scope("test"):
        Tenant.ops.filter(pk=ada.tenant.pk).update(status=Tenant.Status.SUSPENDED)
    assert f"{ada.home}/support/new" in ada.browser.get(f"{ada.workspace}/").content.decode()
    assert asked(ada).state == "open"
    assert ada.browser.post(f"{ada.home}/settings", {"name": "x"}).status_code == 403


def test_staff_on_a_visit_read_threads_write_nothing_and_mark_nothing_as_read(carer: Person) -> None:
    ada = make_person("ada")
    thread, file = asked_with_file(ada)
    carer.browser.post(desk(thread), {"text": ANSWER})
    carer.browser.post(f"/staff/tenants/tenant/{ada.tenant.pk}/view/", {"reason": "asked for in ticket 4711"})
    assert ANSWER in carer.browser.get(place(ada, thread)).content.decode()
    assert carer.browser.post(f"{place(ada, thread)}reply", {"text": "as them"}).status_code == 403
    assert carer.browser.post(f"{place(ada, thread)}solve").status_code == 403
    assert carer.browser.get(f"{place(ada, thread)}files/{file.public_id}").status_code == 403
    assert "New answer" in ada.browser.get(f"{ada.home}/support/").content.decode()


def test_search_finds_a_thread_and_no_stranger_does() -> None:
    ada, eve = make_person("ada"), make_person("eve")
    thread = asked(ada, subject="Zebra crossing")
    for person, found in ((ada, True), (eve, False)):
        page = person.browser.get("/search", {"q": "zebra", "in": f"{person.tenant.slug}/{person.project.slug}"})
        assert (thread.public_id in page.content.decode()) is found


def test_a_form_of_another_site_is_refused() -> None:
    from django.test import Client

    ada = make_person("ada")
    strict = Client(enforce_csrf_checks=True, raise_request_exception=False)
    strict.cookies = ada.browser.cookies
    assert strict.post(f"{ada.home}/support/new", {"subject": "a", "text": "b"}).status_code == 403
    with tenant_scope(ada.tenant.pk):
        assert not Thread.objects.exists()

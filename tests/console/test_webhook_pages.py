"""Webhooks on their pages: the secret once, a test, the log, a replay; each works without script."""

import re
from typing import Any

import pytest

from hooks.delivery import deliver_due
from hooks.models import Delivery, Endpoint
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person, make_person
from tests.console.things import made_webhook
from tests.hooks.receiver import Receiver, happen, nothing_waits, serve

URL = "http://localhost:9/hook"
FORM = {"name": "job-bot", "url": URL, "event_types": ["fine_tuning.job.failed"]}


@pytest.fixture
def receiver() -> Any:
    """A server that answers 204 unless told otherwise."""
    nothing_waits()
    made = Receiver()
    server = serve(made)
    yield made
    server.shutdown()
    server.server_close()


def create(person: Person, **values: Any) -> Any:
    """Send the form."""
    return person.browser.post(f"{person.workspace}/webhooks/new", {**FORM, "once": "a", **values})


def only(person: Person) -> Endpoint:
    """The one endpoint there is."""
    with tenant_scope(person.tenant.id):
        found: Endpoint = Endpoint.objects.get()
        return found


def page_of(person: Person, tail: str = "") -> str:
    """The path of its page."""
    return f"{person.workspace}/webhooks/{only(person).public_id}/{tail}"


def text(answer: Any) -> str:
    """What a page says."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def test_an_empty_page_teaches_with_code_that_runs(cast: Cast, receiver: Receiver) -> None:
    from console.code import receiver as code

    shown = text(cast.owner.browser.get(f"{cast.owner.workspace}/webhooks/"))
    assert "No endpoints yet." in shown and "webhooks" in shown and "unwrap" in shown
    answer = create(cast.owner, url=receiver.url)
    secret = re.findall(r"whsec_[0-9A-Za-z+/]{43}=", answer.content.decode())[0]
    happen(cast.owner)
    deliver_due()
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_API_KEY", cast.owner.key)
        patch.setenv("TUNESMITH_WEBHOOK_SECRET", secret)
        exec(code("http://localhost:9"), names)
    (taken,) = receiver.taken
    assert names["receive"](taken.body, taken.headers) == 204
    assert names["receive"](taken.body + b" ", taken.headers) == 400


def test_the_chapter_shows_the_same_code() -> None:
    from console.code import receiver as code
    from console.docs import CONTENT

    assert code("%BASE_URL%") in (CONTENT / "webhooks.md").read_text()


def test_a_secret_is_shown_once(cast: Cast) -> None:
    answer = create(cast.owner)
    assert answer.status_code == 200 and answer["Cache-Control"] == "no-store"
    (secret,) = set(re.findall(r"whsec_[0-9A-Za-z+/]{43}=", answer.content.decode()))
    assert create(cast.owner).status_code == 302, "a reload makes no second endpoint"
    for path in ("", "change", "rotate", "delete"):
        shown = cast.owner.browser.get(page_of(cast.owner, path))
        assert shown.status_code == 200 and secret not in shown.content.decode()
    rotated = cast.owner.browser.post(page_of(cast.owner, "rotate"), {"keep": "yes", "once": "b"})
    assert secret not in rotated.content.decode() and "both secrets sign" in text(rotated)
    assert only(cast.owner).old_secret_until is not None
    assert cast.owner.browser.post(page_of(cast.owner, "rotate"), {"keep": "no", "once": "b"}).status_code == 302


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"url": "http://hooks.example.com/"}, "must begin with https://"),
        ({"url": "https://10.0.0.1/"}, "Use a public host name"),
        ({"url": ""}, "required"),
        ({"event_types": []}, "required"),
        ({"event_types": ["eval.run.failed"]}, "eval.run.failed"),
        ({"name": ""}, "required"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_typed_is_lost(cast: Cast, wrong: dict[str, Any], words: str) -> None:
    answer = create(cast.owner, **wrong)
    assert answer.status_code == 422
    shown = answer.content.decode()
    assert words in shown and "There is a problem" in shown
    assert "name" in wrong or 'value="job-bot"' in shown
    with tenant_scope(cast.owner.tenant.id):
        assert not Endpoint.objects.exists()


def test_a_test_says_what_came_back(cast: Cast, receiver: Receiver) -> None:
    receiver.says(500)
    create(cast.owner, url=receiver.url)
    answer = cast.owner.browser.post(page_of(cast.owner, "test"), {"event_type": "fine_tuning.job.failed"})
    assert answer.status_code == 200
    assert "was not taken" in text(answer) and "It answered 500." in text(answer)
    assert receiver.taken[0].event["data"] == {"id": "ftjob-" + "0" * 26}
    soon = cast.owner.browser.post(page_of(cast.owner, "test"), {"event_type": "fine_tuning.job.failed"})
    assert soon.status_code == 429 and "5 seconds ago" in text(soon)


def test_the_log_shows_each_try_and_replays(cast: Cast, receiver: Receiver) -> None:
    receiver.says(503)
    create(cast.owner, url=receiver.url)
    happen(cast.owner, identifier="ftjob-seven")
    deliver_due()
    shown = text(cast.owner.browser.get(page_of(cast.owner)))
    for words in ("ftjob-seven", "It answered 503.", "1 try has failed", "next try", "said so"):
        assert words in shown, words
    with tenant_scope(cast.owner.tenant.id):
        identifier = Delivery.objects.get().public_id
    receiver.says(200)
    answer = cast.owner.browser.post(page_of(cast.owner, f"deliveries/{identifier}/replay"))
    assert answer.status_code == 302
    assert deliver_due() == 1
    assert "Delivered" in text(cast.owner.browser.get(page_of(cast.owner)))


def test_a_hostile_answer_stays_text(cast: Cast) -> None:
    made_webhook(cast.owner)
    shown = cast.owner.browser.get(page_of(cast.owner)).content.decode()
    assert "<b>said</b>" not in shown and "&lt;b&gt;said" in shown


def test_disable_enable_change_and_delete(cast: Cast) -> None:
    create(cast.owner)
    cast.owner.browser.post(page_of(cast.owner, "state"), {"state": "disabled"})
    assert "Disabled on request" in text(cast.owner.browser.get(page_of(cast.owner)))
    cast.owner.browser.post(page_of(cast.owner, "state"), {"state": "enabled"})
    assert only(cast.owner).state == "enabled"
    changed = cast.owner.browser.post(page_of(cast.owner, "change"), {**FORM, "name": "other"})
    assert (changed.status_code, only(cast.owner).name) == (302, "other")
    refused = cast.owner.browser.post(page_of(cast.owner, "change"), {**FORM, "url": "https://10.0.0.1/"})
    assert (refused.status_code, only(cast.owner).url) == (422, URL)
    assert cast.owner.browser.post(page_of(cast.owner, "delete")).status_code == 302
    assert "No endpoints yet." in text(cast.owner.browser.get(f"{cast.owner.workspace}/webhooks/"))


def test_a_viewer_reads_and_a_billing_member_is_shown_no_way_there(cast: Cast) -> None:
    create(cast.owner)
    viewer = make_person("vera", beside=cast.owner, role="viewer")
    page = viewer.browser.get(page_of(cast.owner))
    assert page.status_code == 200 and "Replay" not in text(page) and "Rotate" not in text(page)
    assert viewer.browser.post(page_of(cast.owner, "delete")).status_code == 403
    clerk = make_person("bill", beside=cast.owner, role="billing")
    assert clerk.browser.get(f"{cast.owner.workspace}/webhooks/").status_code == 403
    assert "/webhooks/" not in clerk.browser.get(f"{cast.owner.home}/billing/").content.decode()


def test_search_finds_an_endpoint_and_nobody_elses(cast: Cast) -> None:
    create(cast.owner, name="zebra-bot")
    asked = {"q": "zebra", "in": f"{cast.owner.tenant.slug}/{cast.owner.project.slug}", "format": "json"}
    (found,) = cast.owner.browser.get("/search", asked).json()["results"]
    assert (found["kind"], cast.owner.browser.get(found["href"]).status_code) == ("webhook", 200)
    assert cast.stranger.browser.get("/search", asked).json()["results"] == []

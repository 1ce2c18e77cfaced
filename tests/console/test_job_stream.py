"""A job's live stream: replay from the last event, points in one message, an end when the job ends."""

import asyncio
import json
import threading
import time
from typing import Any

import pytest

from console.views import job_stream
from console.views.job_stream import Place, messages
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.console import things
from tests.console.pages import signed_in, visit
from training.models import Job, JobEvent


def place(person: Person, job: Job) -> Place:
    """The job as the door hands it on."""
    return Place(person.tenant.id, person.project.id, job.pk, "/the/page")


def heard(person: Person, job: Job, after: int = 0, badge: str = "") -> list[tuple[str, str, Any]]:
    """Everything a stream says until it ends by itself: (event, id, data)."""

    async def collect() -> list[str]:
        return [message async for message in messages(place(person, job), after=after, badge=badge)]

    found = []
    for message in asyncio.run(collect()):
        fields = dict(line.split(": ", 1) for line in message.strip().splitlines())
        if "event" in fields:
            found.append((fields["event"], fields.get("id", ""), json.loads(fields["data"])))
    return found


@pytest.fixture(scope="module")
def ada() -> Person:
    """An owner."""
    return make_person("ada")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look more often than in production."""
    monkeypatch.setattr(job_stream, "LOOK_SECONDS", 0.05)


def test_a_new_listener_hears_everything_and_the_end(ada: Person) -> None:
    job = things.made_job(ada, state="succeeded", events=16)
    said = heard(ada, job)
    assert [event for event, _id, _data in said] == ["log", "log", "point", "state", "done"]
    points = next(data for event, _id, data in said if event == "point")
    assert len([p for p in points if p["series"] == "train"]) == 16
    assert {p["chart"] for p in points} == {"loss", "scores"}
    assert said[-1][2] == {"href": "/the/page"}


def test_a_listener_who_comes_back_hears_only_what_is_new(ada: Person) -> None:
    job = things.made_job(ada, state="succeeded", events=16)
    with tenant_scope(ada.tenant.id):
        last = max(JobEvent.objects.filter(job=job).values_list("seq", flat=True))
    assert [event for event, _id, _data in heard(ada, job, after=last)] == ["state", "done"]


def test_a_page_that_shows_an_older_state_is_told_to_load_again(ada: Person) -> None:
    job = things.made_job(ada, state="queued")
    page = ada.browser.get(f"{ada.workspace}/jobs/{job.public_id}/").content.decode()
    assert "badge=queued" in page
    said = heard(ada, job, badge="validating_files")
    assert [event for event, _id, _data in said] == ["state", "done"]
    assert "Position" in said[0][2]["waiting"]


def test_strangers_and_guests_get_the_404_of_an_unknown_job(ada: Person, client: Any) -> None:
    job = things.made_job(ada)
    path = f"{ada.workspace}/jobs/{job.public_id}/stream"
    assert make_person("eve").browser.get(path).status_code == 404
    assert client.get(path).status_code == 404
    assert ada.browser.get(f"{ada.workspace}/jobs/ftjob-{'0' * 26}/stream").status_code == 404


@pytest.mark.browser
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators")
def test_an_open_page_shows_new_points_and_lines_by_itself(site: str, chromium: Any, ada: Person) -> None:
    job = things.made_job(ada, state="queued", events=8)
    context = chromium.new_context()
    signed_in(context, site, ada)
    seen = visit(context, f"{site}{ada.workspace}/jobs/{job.public_id}/")
    page = seen.page
    page.wait_for_selector(".u-wrap")

    def train() -> None:
        time.sleep(0.5)
        with tenant_scope(ada.tenant.id):
            Job.objects.filter(pk=job.pk).update(step=500, total_steps=900, progress=0.5, event_seq=101)
            data = {"step": 500, "total_steps": 900, "train_loss": 0.123}
            JobEvent.objects.create(job=job, seq=100, type="metrics", message="Step 500", data=data)
            JobEvent.objects.create(job=job, seq=101, message="Half of it is done")

    worker = threading.Thread(target=train)
    worker.start()
    page.wait_for_selector("#job-log >> text=Half of it is done", timeout=15_000)
    worker.join()
    page.wait_for_function("document.querySelector('[data-latest=train]').textContent === '0.123'")
    page.wait_for_function("document.querySelector('progress[data-live]').value === 0.5")
    assert "step 500 of 900" in page.locator("[data-live=steps]").inner_text()
    with tenant_scope(ada.tenant.id):
        Job.objects.filter(pk=job.pk).update(state="cancelled", finished_at=job.created_at)
    page.wait_for_selector("text=Cancelled at step", timeout=15_000)
    assert seen.complaints == []
    context.close()

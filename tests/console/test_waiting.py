"""What a job's page says of its waiting: the reason that the API gives, in words."""

import datetime as dt

import pytest

from kit.clock import now
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person, make_person
from tests.training.making import empty_queue, queued, read
from training.models import Job, Slot
from training.selectors import queue
from training.services.claiming import claim, slots_keep

HOST = "waiting-host"


@pytest.fixture(autouse=True)
def _one_place_that_is_taken(cast: Cast) -> None:
    empty_queue()
    slots_keep(host=HOST, count=1, kind="cpu-fp32", gpu_class="cpu")
    queued(cast.owner)
    assert claim(host=HOST, worker=f"{HOST}/1/1") is not None


def said(person: Person, job: Job) -> tuple[str, str]:
    """The reason in the API, and the page."""
    queue._cache = None
    reason = read(person, job)["x_queue"]["reason"]
    page = person.browser.get(f"{person.workspace}/jobs/{job.public_id}/").content.decode()
    return str(reason), page.replace("&#x27;", "'")


def test_each_reason_is_said_in_words_that_fit_it(cast: Cast) -> None:
    later = make_person("later")
    own, first, second = queued(cast.owner), queued(cast.stranger), queued(later)
    for person, job, reason, words in (
        (cast.stranger, first, "resources", "starts when a place to train is free"),
        (later, second, "priority", "other jobs are before it"),
        (cast.owner, own, "tenant_limit", "number of parallel jobs is reached"),
    ):
        found, page = said(person, job)
        assert found == reason and words in page, (found, reason)
    with tenant_scope(later.tenant.id):
        Job.objects.filter(pk=second.pk).update(not_before=now() + dt.timedelta(hours=1))
    found, page = said(later, second)
    assert found == "not_before" and "again" in page
    Slot.objects.update(draining=True)
    found, page = said(cast.stranger, first)
    assert found == "no_workers" and "no worker is up" in page

"""The fleet page: what is shown of workers, places, jobs, queues and the engine, and draining a place."""

import datetime as dt
import json
from typing import Any

import pytest
from django.conf import settings

from billing.services.entitlements import override_set
from inference import wire
from inference.errors import Unavailable
from kit import heartbeat, redis
from kit.clock import now
from ops import fleet, queue
from ops.models import Alert, StaffAction
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Cast, Person
from tests.console import things
from tests.console.pages import sideways, signed_in, visit
from tests.training.making import empty_queue, queued, reload
from training.errors import Fenced
from training.models import Job, Slot
from training.selectors import queue as standings
from training.services.claiming import claim, slots_keep
from training.services.leases import Standing, lease_renew
from training.services.parking import slots_quarantine
from training.worker.inventory import Machine

WHY = "the fan of this machine is broken"


@pytest.fixture
def place() -> Slot:
    """The only place to train, and an empty queue."""
    empty_queue()
    slots_keep(host="fleet-host", count=1, kind="cpu-fp32", gpu_class="cpu")
    return Slot.objects.get(host="fleet-host")


def report(resident: wire.ResidentReport) -> wire.HealthReport:
    """What an engine with one model says."""
    counted = ("requests", "rows", "tokens", "padded_tokens", "batches", "refused", "cancelled", "evictions")
    counts = dict.fromkeys((*counted, "queued_rows", "queued_tenants"), 3)
    return wire.HealthReport(
        id=1, uptime_s=3700.0, backend="torch", precision="bf16", bases=["b"], expected_wait_s=0.0,
        resident_bytes=31_000_000, resident_budget=2_000_000_000, residents=[resident], latency_p50_ms=4.25,
        latency_p95_ms=9.5, latency_p99_ms=20.0, **counts,
        trial=[
            wire.TrialReport("openvino", "bf16", [461.2, 1372.0, 1676.4], 0.0077, "chosen"),
            wire.TrialReport("torch", "fp32", [101.0], 0.0, "slower"),
        ],
        writers=[wire.WriterReport("tiny", "bfloat16", 5, 700, 64, 811, 1, 0, 2, 3, 9, 200, 150, 41.0, 87.0)],
    )  # fmt: skip


def test_the_page_stands_under_the_strict_policy_and_behind_the_door(ada: Person, cast: Cast, place: Slot) -> None:
    answer = ada.browser.get("/staff/fleet/")
    assert answer.status_code == 200
    assert answer.headers["Content-Security-Policy"] == settings.CONTENT_SECURITY_POLICY
    assert "fleet-host/0" in answer.content.decode()
    assert cast.owner.browser.get("/staff/fleet/", follow=True).status_code == 404


def test_a_running_job_is_shown_with_its_attempts_and_a_waiting_one_with_its_reason(
    ada: Person, cast: Cast, place: Slot
) -> None:
    job, second = queued(cast.owner), queued(cast.stranger)
    lease = claim(host="fleet-host", worker="fleet-host/1/1")
    assert lease is not None
    standings._cache = None
    with ops_scope("test"):
        (run,) = [run for run in fleet.runs() if run.job.pk == lease.job_id]
        assert [(one.number, one.worker, one.outcome) for one in run.attempts] == [(1, "fleet-host/1/1", "")]
        assert {other.pk for other, _, _ in fleet.waiting_jobs()} == {job.pk, second.pk} - {lease.job_id}
        assert fleet.places()[0].state == "busy"
    text = ada.browser.get("/staff/fleet/").content.decode()
    assert f"/staff/training/job/{lease.job_id}/requeue/" in text


def test_a_place_is_unwell_when_it_is_silent_but_never_while_it_holds_a_job(cast: Cast, place: Slot) -> None:
    def state() -> str:
        Slot.objects.update(heartbeat_at=now() - 2 * fleet.SILENT)
        with ops_scope("test"):
            return fleet.places()[0].state

    assert state() == "unwell"
    queued(cast.owner)
    slots_keep(host="fleet-host", count=1, kind="cpu-fp32", gpu_class="cpu")
    assert claim(host="fleet-host", worker="fleet-host/1/1") is not None
    assert state() == "busy"
    Slot.objects.update(draining=True)
    assert state() == "draining"


def test_a_drained_place_takes_no_job_until_it_is_given_back(ada: Person, cast: Cast, place: Slot) -> None:
    queued(cast.owner)
    page = f"/staff/training/slot/{place.pk}"
    assert ada.browser.post(f"{page}/park/", {"reason": "x"}).status_code == 422
    assert ada.browser.post(f"{page}/park/", {"reason": WHY}).status_code == 302
    assert ada.browser.post(f"{page}/park/", {"reason": WHY}).status_code == 422, "once is enough"
    slots_keep(host="fleet-host", count=1, kind="cpu-fp32", gpu_class="cpu")
    assert claim(host="fleet-host", worker="fleet-host/1/1") is None
    with ops_scope("test"):
        assert fleet.places()[0].state == "drained"
    assert ada.browser.post(f"{page}/unpark/", {"reason": WHY}).status_code == 302
    assert claim(host="fleet-host", worker="fleet-host/1/1") is not None
    logged = StaffAction.objects.filter(target_id=str(place.pk), target_kind="slot").values_list("action", "reason")
    assert sorted(logged) == [("slot.park", WHY), ("slot.unpark", WHY)]


def test_a_place_is_shown_with_what_it_runs_on_and_why_its_worker_parked_it(ada: Person, place: Slot) -> None:
    gpu = Machine("gpu", "NVIDIA H200", 143_771, 12, 64, 2)
    slots_keep(host="fleet-host", count=1, kind="cuda-bf16", gpu_class="shared", inventory={0: gpu.as_dict(busy=False)})
    assert slots_quarantine(slot_ids=[place.pk], reason="80 MiB of scratch disk are free") == 1
    assert slots_quarantine(slot_ids=[place.pk], reason="again") == 0, "the first reason stays"
    text = ada.browser.get("/staff/fleet/").content.decode()
    for words in ("NVIDIA H200", "12 of 143,771 MiB", "64 °C", "Unwell: 2 uncorrected memory errors"):
        assert words in text
    assert "80 MiB of scratch disk are free" in text
    assert ada.browser.post(f"/staff/training/slot/{place.pk}/unpark/", {"reason": WHY}).status_code == 302
    assert "80 MiB of scratch disk" not in ada.browser.get("/staff/fleet/").content.decode()


def test_processes_are_shown_while_they_are_heard_of() -> None:
    for key in redis.client().scan_iter("worker:*"):  # of real workers that other tests had, a moment ago
        redis.client().delete(key)
    words = {"name": "train", "host": "gpu-017", "pid": 4, "since": 0}
    redis.set_for("worker:train:gpu-017:4", json.dumps(words), seconds=heartbeat.LASTS)
    alive = fleet.workers()
    assert alive is not None
    (one,) = [one for one in alive if one.host == "gpu-017"]
    assert (one.name, one.pid, one.silent < 2) == ("train", 4, True)
    assert {queue.name: queue.workers for queue in fleet.queues(alive)}["train"] == 1
    redis.client().delete("worker:train:gpu-017:4")
    assert "gpu-017" not in {one.host for one in fleet.workers() or []}


def test_the_engines_models_are_shown_by_name(ada: Person, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    version = things.made_model(cast.owner)
    one = wire.ResidentReport(version.pk.hex, cast.owner.tenant.pk.hex, "lora", 31_000_000)
    monkeypatch.setattr(fleet, "engine_health", lambda: report(one))
    text = ada.browser.get("/staff/fleet/").content.decode()
    assert str(version) in text
    assert cast.owner.tenant.name in text
    assert "4.2 / 9.5 / 20" in text
    assert "openvino bf16" in text
    assert "1372" in text
    assert "0.0077" in text
    assert "tiny bfloat16" in text and "41 / 87" in text and "75" in text


def test_an_absent_engine_is_a_fact_and_no_fault(ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Any:
        raise Unavailable("The engine cannot be reached.")

    monkeypatch.setattr(fleet, "engine_health", away)
    monkeypatch.setattr(fleet, "serving_replicas", list)
    assert "The engine starts again, or is away." in ada.browser.get("/staff/fleet/").content.decode()
    Alert.objects.filter(kind="no_engine").delete()
    Alert.objects.create(kind="no_engine", figure=1.0, began_at=now() - dt.timedelta(minutes=2))
    assert "The engine does not answer." in ada.browser.get("/staff/fleet/").content.decode()
    Alert.objects.filter(kind="no_engine").delete()


def test_a_page_that_refreshes_itself_does_not_keep_the_session_alive(ada: Person) -> None:
    assert "staff" not in ada.browser.get("/staff/fleet/", headers={"HX-Request": "true"}).cookies
    assert "staff" in ada.browser.get("/staff/fleet/").cookies


@pytest.mark.browser
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators")
@pytest.mark.parametrize("width", [1440, 390])
def test_the_fleet_page_runs_without_a_complaint(
    site: str, chromium: Any, ada: Person, cast: Cast, place: Slot, width: int
) -> None:
    queued(cast.owner)
    claim(host="fleet-host", worker="fleet-host/1/1")
    context = chromium.new_context(viewport={"width": width, "height": 900})
    signed_in(context, site, ada, cookie="staff")
    seen = visit(context, site + "/staff/fleet/")
    assert seen.complaints == []
    assert sideways(seen.page) == 0
    context.close()


def test_the_queue_page_says_why_each_job_waits_and_what_would_bring_one_forward(
    ada: Person, cast: Cast, place: Slot
) -> None:
    first, second = queued(cast.owner), queued(cast.stranger)
    with tenant_scope(cast.owner.tenant.id):
        Job.objects.filter(pk=first.pk).update(likely_seconds=3600)  # however quick the jobs of other tests were
    claim(host="fleet-host", worker="fleet-host/1/1")
    page = ada.browser.get(f"/staff/queue/?job={second.pk}")
    words = " ".join(page.content.decode().split())
    assert page.status_code == 200
    assert "1 job waits" in words and "a place to come free" in words
    assert "With one more place of its class" in words and "Called urgent" in words
    found = page.context_data["found"]
    starts = {one.change: one.seconds for one in found.what_if}
    assert starts["one_more_place"] == 0 < starts["as_is"], "a second place would start it at once"
    assert "is not in the queue: it is leased" in " ".join(
        ada.browser.get(f"/staff/queue/?job={first.pk}").content.decode().split()
    )
    for nonsense in ("x", "01a226ca-5005-751e-abe4-8e7e2b1a1c63"):
        assert "There is no such job." in ada.browser.get(f"/staff/queue/?job={nonsense}").content.decode()
    assert cast.owner.browser.get("/staff/queue/", follow=True).status_code == 404


def test_staff_call_a_job_urgent_hold_it_release_it_and_stop_it(ada: Person, cast: Cast, place: Slot) -> None:
    waits, job = queued(cast.owner), queued(cast.stranger)

    def deed(name: str, status: int = 302) -> None:
        assert ada.browser.post(f"/staff/training/job/{job.pk}/{name}/", {"reason": WHY}).status_code == status

    deed("hold")
    assert (reload(cast.stranger, job.public_id).state, reload(cast.stranger, job.public_id).blocked_by) == (
        "blocked", "hold",
    )  # fmt: skip
    assert "paused or held" in ada.browser.get("/staff/queue/").content.decode()
    deed("release")
    deed("urgent")
    deed("urgent", 422)  # twice
    assert "urgent" in ada.browser.get("/staff/queue/").content.decode()
    lease = claim(host="fleet-host", worker="fleet-host/1/1")
    assert lease is not None and lease.job_id == job.pk != waits.pk
    deed("kill")
    body = cast.stranger.api.get(f"/v1/fine_tuning/jobs/{job.public_id}").json()
    assert (body["status"], body["error"]["code"], body["x_price_usd"]) == ("failed", "stopped_by_staff", 0)
    assert WHY in body["error"]["message"]
    with pytest.raises(Fenced):
        lease_renew(lease=lease, standing=Standing(phase="training"))
    place.refresh_from_db()
    assert place.job_id is None


def test_an_urgent_job_is_made_ordinary_again_with_the_priority_that_was_asked_for(
    ada: Person, cast: Cast, place: Slot
) -> None:
    first, job = queued(cast.owner), queued(cast.stranger, x_priority="low")

    def deed(name: str, status: int = 302) -> None:
        assert ada.browser.post(f"/staff/training/job/{job.pk}/{name}/", {"reason": WHY}).status_code == status

    deed("ordinary", 422)
    deed("urgent")
    row = reload(cast.stranger, job.public_id)
    assert (
        row.is_urgent and cast.stranger.api.get(f"/v1/fine_tuning/jobs/{job.public_id}").json()["x_priority"] == "low"
    )
    assert "Make ordinary again" in ada.browser.get(f"/staff/training/job/{job.pk}/change/").content.decode()
    deed("ordinary")
    row = reload(cast.stranger, job.public_id)
    assert (row.is_urgent, row.priority) == (False, -1)
    events = cast.stranger.api.get(f"/v1/fine_tuning/jobs/{job.public_id}/events").json()["data"]
    assert events[0]["message"] == "The job takes its usual turn in the queue again."
    lease = claim(host="fleet-host", worker="fleet-host/1/1")
    assert lease is not None and lease.job_id == first.pk


def test_the_queue_page_has_pages(ada: Person, cast: Cast, place: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MOST", 2)
    limits = {"queued_jobs": 50, "parallel_jobs": 1}
    with tenant_scope(cast.owner.tenant.id):
        override_set(reason="test", created_by="test", limits=limits)
    jobs = [queued(cast.owner) for _ in range(5)]
    monkeypatch.setattr(standings, "_cache", None)
    seen: list[int] = []
    for number in ("", "2", "3"):
        page = ada.browser.get(f"/staff/queue/?page={number}")
        seen += [line.standing.position for line in page.context_data["lines"]]
        assert "5 jobs wait" in " ".join(page.content.decode().split())
    assert seen == [1, 2, 3, 4, 5]
    assert 'href="?page=2"' in ada.browser.get("/staff/queue/").content.decode()
    for odd in ("x", "0", "99", "-1"):
        assert ada.browser.get(f"/staff/queue/?page={odd}").status_code == 200
    for job in jobs:
        cast.owner.api.post(f"/v1/fine_tuning/jobs/{job.public_id}/pause")
    page = ada.browser.get("/staff/queue/?stopped=3")
    mine = [job.pk for job, _ in page.context_data["blocked"]]
    assert mine and page.context_data["stopped"].number == 3

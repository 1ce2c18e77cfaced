"""Rollouts through the gateway: who gets which version, what callers are told, and that nobody is harmed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from django.core import mail

from hooks.models import Event
from kit.ids import new_id, parse_id
from registry.models import Alias, ModelVersion
from serving.models import Deployment, RequestRecord, Rollout
from serving.rollout_tick import rollout_look, rollouts_tick
from serving.services import deployment_stop
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.gateway.reading_engine import Reading, published, reading
from tests.gateway.writing_engine import on_plan, until
from tests.inference.artefacts import Made, make
from tests.serving.made import publish

pytestmark = pytest.mark.slow  # starts real processes
ALIAS = "triage@prod"


@pytest.fixture(scope="module")
def door(django_db_setup: None) -> Iterator[Reading]:
    with reading() as running:
        yield running


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: Any) -> Made:
    return make(tmp_path_factory.mktemp("rollout") / "a")


@dataclass
class Two:
    """A person with two versions live, the first under the alias."""

    door: Reading
    person: Person
    stable: Deployment
    candidate: Deployment

    def begin(self, mode: str = "ab", **more: Any) -> str:
        """A rollout of the candidate; its id."""
        body = {"alias": ALIAS, "candidate": self.candidate.public_id, "mode": mode, **more}
        answer = self.person.api.post("/v1/rollouts", body)
        assert answer.status_code == 200, answer.content
        made: str = answer.json()["id"]
        until(lambda: self.ask("anybody").headers.get("x-rollout-arm") is not None)
        return made

    def ask(self, user: str | None = None, text: Any = "a text", **headers: str) -> httpx2.Response:
        """Call the alias."""
        body = {"model": ALIAS, "input": text} | ({"user": user} if user is not None else {})
        headers |= {"authorization": f"Bearer {self.person.key}"}
        return httpx2.post(f"{self.door.url}/v1/classify", json=body, headers=headers, timeout=30)

    def arms(self, users: list[str]) -> dict[str, str]:
        """The arm that each caller is on."""
        with ThreadPoolExecutor(8) as pool:
            return dict(zip(users, (a.headers["x-rollout-arm"] for a in pool.map(self.ask, users)), strict=True))

    def show(self, rollout: str) -> dict[str, Any]:
        """The rollout as the API shows it."""
        found: dict[str, Any] = self.person.api.get(f"/v1/rollouts/{rollout}").json()
        return found

    def logged(self, **wanted: Any) -> int:
        """Rows of the request log."""
        with tenant_scope(self.person.tenant.id):
            return RequestRecord.objects.filter(**wanted).count()

    def look(self, rollout: str) -> str:
        """What the tick does with it."""
        return rollout_look(tenant_id=self.person.tenant.id, rollout_id=parse_id("rollout_", rollout))


@pytest.fixture
def two(door: Reading, artefact: Made) -> Two:
    person = on_plan("ada")
    stable = door.deployed(person, publish(person, artefact), ALIAS)
    candidate = door.deployed(person, publish(person, artefact))
    return Two(door, person, stable, candidate)


def test_callers_are_split_by_share_stay_where_they_are_and_none_goes_back(two: Two) -> None:
    rollout = two.begin("canary", share=20)
    users = [f"user {i}" for i in range(160)]
    first, again = two.arms(users), two.arms(users)
    assert first == again
    taken = Counter(first.values())
    assert 12 <= taken["candidate"] <= 52  # 32 expected; four standard deviations
    assert two.person.api.post(f"/v1/rollouts/{rollout}", {"share": 60}).status_code == 200
    until(lambda: two.arms(users[:30]) != {user: first[user] for user in users[:30]})  # the gateway has heard
    later = two.arms(users)
    assert all(later[user] == "candidate" for user in users if first[user] == "candidate")
    assert 71 <= Counter(later.values())["candidate"] <= 121
    assert two.show(rollout)["share"] == 60


def test_an_answer_says_which_version_and_arm_it_came_from(two: Two) -> None:
    two.begin("ab", share=50)
    by_arm: dict[str, Any] = {}
    for i in range(60):
        answer = two.ask(f"user {i}")
        by_arm[answer.headers["x-rollout-arm"]] = answer
    for arm, deployment in (("stable", two.stable), ("candidate", two.candidate)):
        answer = by_arm[arm]
        with tenant_scope(two.person.tenant.id):
            name = Deployment.objects.get(pk=deployment.pk).model.name
        assert answer.headers["x-model-version"] == f"{name}; version=1"
        assert answer.json()["model"] == name
        row = parse_id("req_", answer.headers["x-request-id"])
        until(lambda row=row: two.logged(pk=row))
        assert two.logged(pk=row, arm=arm, version_id=deployment.version_id, model=ALIAS) == 1
    plain = httpx2.post(
        f"{two.door.url}/v1/classify", json={"model": by_arm["stable"].json()["model"], "input": "a"},
        headers={"authorization": f"Bearer {two.person.key}"},
    )  # fmt: skip
    assert "x-rollout-arm" not in plain.headers
    assert plain.headers["x-model-version"]


def test_a_caller_is_known_by_header_where_the_body_says_nothing(two: Two) -> None:
    two.begin("ab", share=50)
    arms = {two.ask(None, **{"x-sticky-key": "session 7"}).headers["x-rollout-arm"] for _ in range(12)}
    assert len(arms) == 1
    assert {two.ask(None).headers["x-rollout-arm"] for _ in range(40)} == {"stable", "candidate"}
    keyed = {"model": ALIAS, "input": "a", "questions": [{"type": "choice"}]}
    by_field = set()
    for field in ("prompt_cache_key", "safety_identifier"):
        answers = [two.door.post("/v1/decisions", keyed | {field: "user 1"}, two.person.key) for _ in range(6)]
        assert {answer.status_code for answer in answers} == {200}
        by_field.add(frozenset(answer.headers["x-rollout-arm"] for answer in answers))
    assert len(by_field) == 1
    assert len(next(iter(by_field))) == 1


def test_no_call_fails_while_a_candidate_is_promoted_and_the_old_version_stopped(two: Two) -> None:
    rollout = two.begin("canary", share=10, drain_seconds=30)
    seen: Counter[tuple[int, str]] = Counter()
    stop = threading.Event()

    def hammer(worker: int) -> None:
        with httpx2.Client(headers={"authorization": f"Bearer {two.person.key}"}, timeout=30) as client:
            n = 0
            while not stop.is_set():
                body = {"model": ALIAS, "input": "a text", "user": f"{worker} {n % 50}"}
                answer = client.post(f"{two.door.url}/v1/classify", json=body)
                seen[answer.status_code, answer.headers.get("x-rollout-arm", "none")] += 1
                n += 1

    threads = [threading.Thread(target=hammer, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: seen[200, "stable"] > 20 and seen[200, "candidate"] > 5, 30)
        answer = two.person.api.post(f"/v1/rollouts/{rollout}/promote")
        assert (answer.status_code, answer.json()["state"]) == (200, "promoted")
        until(lambda: seen[200, "none"] > 100, 30)
        with tenant_scope(two.person.tenant.id):  # 30 s of draining go by
            found = Rollout.objects.get(pk=parse_id("rollout_", rollout))
            assert found.ended_at is not None
            Rollout.objects.filter(pk=found.pk).update(ended_at=found.created_at.replace(year=2020))
        rollouts_tick()
        before = sum(seen.values())
        until(lambda: sum(seen.values()) > before + 200, 30)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in seen} == {200}, seen
    with tenant_scope(two.person.tenant.id):
        assert Deployment.objects.get(pk=two.stable.pk).state == "stopped"
        assert Alias.objects.get(name="triage", stage="prod").version_id == two.candidate.version_id
        assert Deployment.objects.get(pk=two.candidate.pk).alias == ALIAS


def test_a_candidate_that_fails_is_rolled_back_and_everybody_is_told(two: Two) -> None:
    two.door.engine.fails.add(two.candidate.version_id.hex)
    rollout = two.begin("canary", share=30)
    mail.outbox.clear()
    for i in range(80):
        two.ask(f"user {i}")
    until(lambda: two.logged(model=ALIAS) >= 80)
    assert two.look(rollout) == "errors"
    until(lambda: "x-rollout-arm" not in two.ask("anybody").headers)
    assert {two.ask(f"user {i}").status_code for i in range(80)} == {200}
    found = two.show(rollout)
    assert (found["state"], found["automatic"]) == ("rolled_back", True)
    assert found["reason"].startswith("The candidate failed ")
    assert found["figures"]["candidate"]["errors"] == found["figures"]["candidate"]["calls"] > 5
    assert found["figures"]["stable"]["errors"] == 0
    numbers = found["events"][-1]["numbers"]
    assert numbers["evidence"] >= numbers["enough"] == 300
    assert numbers["candidate"]["errors"] > 5
    with tenant_scope(two.person.tenant.id):
        assert Event.objects.get(type="tunesmith.rollout.rolled_back").data == {"id": rollout}
        assert AuditEvent.objects.filter(action="rollout.rolled_back").count() == 1
    assert [ALIAS in one.subject for one in mail.outbox] == [True]
    assert two.look(rollout) == "ended"


def test_two_equal_versions_stay_as_they_are(two: Two) -> None:
    rollout = two.begin("canary", share=50)
    for i in range(80):
        two.ask(f"user {i}")
    until(lambda: two.logged(model=ALIAS) >= 80)
    assert two.look(rollout) == "waiting"
    assert two.show(rollout)["state"] == "running"


def test_feedback_rolls_back_a_candidate_that_answers_wrong(two: Two) -> None:
    rollout = two.begin("canary", share=50)
    two.door.engine.says[two.candidate.version_id.hex] = 3
    answers = [two.ask(f"user {i}") for i in range(70)]
    until(lambda: two.logged(model=ALIAS) >= 70)
    for answer in answers:
        right = answer.json()["data"][0]["label"] == "label 0"
        said = {"request_id": answer.headers["x-request-id"], "correct": right}
        assert two.person.api.post("/v1/feedback", said).status_code == 200
    assert two.look(rollout) == "quality"
    figures = two.show(rollout)["figures"]
    assert figures["candidate"]["wrong"] == figures["candidate"]["judged"] > 20
    assert (figures["stable"]["wrong"], figures["stable"]["judged"] > 20) == (0, True)


def test_a_slow_candidate_is_rolled_back_where_there_is_a_limit(two: Two) -> None:
    two.door.engine.takes[two.candidate.version_id.hex] = 0.15
    rollout = two.begin("canary", share=50, guards={"latency_ms": 100})
    list(two.arms([f"user {i}" for i in range(40)]))
    until(lambda: two.logged(model=ALIAS) >= 40)
    assert two.look(rollout) == "latency"
    assert "took longer than 100 ms" in two.show(rollout)["reason"]


def test_a_canary_goes_through_its_steps_and_is_promoted_after_the_last(two: Two) -> None:
    steps = [{"share": share, "seconds": 0, "calls": 3} for share in (50, 100)]
    rollout = two.begin("canary", steps=steps)
    assert two.look(rollout) == "waiting"
    for i in range(20):
        two.ask(f"user {i}")
    until(lambda: two.logged(model=ALIAS, arm="candidate") >= 3)
    assert two.look(rollout) == "step"
    assert two.show(rollout)["share"] == 100
    assert two.look(rollout) == "waiting", "the new step has had no calls yet"
    until(lambda: two.ask("user 1").headers["x-rollout-arm"] == two.ask("user 2").headers["x-rollout-arm"])
    before = two.logged(model=ALIAS, arm="candidate")
    for i in range(8):
        two.ask(f"user {i}")
    until(lambda: two.logged(model=ALIAS, arm="candidate") >= before + 8)
    assert two.look(rollout) == "promoted"
    found = two.show(rollout)
    assert (found["state"], found["automatic"]) == ("promoted", True)
    assert [event["kind"] for event in found["events"]] == ["started", "share", "promoted"]


def test_a_promotion_can_be_undone_while_the_old_version_is_live(two: Two) -> None:
    rollout = two.begin("ab")
    two.person.api.post(f"/v1/rollouts/{rollout}/promote")
    back = two.person.api.post(f"/v1/rollouts/{rollout}/rollback", {"reason": "It is rude."})
    assert (back.status_code, back.json()["state"]) == (200, "rolled_back")
    with tenant_scope(two.person.tenant.id):
        assert Alias.objects.get(name="triage", stage="prod").version_id == two.stable.version_id
    until(lambda: two.ask("user").json()["model"] == two.show(rollout)["stable"]["model"])


def test_a_shadow_is_asked_behind_the_answer_compared_and_free(two: Two) -> None:
    rollout = two.begin("shadow")
    two.door.engine.says[two.candidate.version_id.hex] = 3
    tallied = two.show(rollout)["shadow"]["compared"]
    before = two.door.engine.asked[two.candidate.version_id.hex]
    for i in range(10):
        answer = two.ask(f"user {i}", ["one", "two"])
        assert answer.headers["x-rollout-arm"] == "stable"
        assert [row["label"] for row in answer.json()["data"]] == ["label 0", "label 0"]
        time.sleep(0.02)
    until(lambda: two.show(rollout)["shadow"]["compared"] + 2 * two.show(rollout)["shadow"]["dropped"] >= tallied + 20)
    shadow = two.show(rollout)["shadow"]
    assert two.door.engine.asked[two.candidate.version_id.hex] > before
    assert shadow["agreed"] < shadow["compared"] >= 10
    until(lambda: two.logged(arm="shadow", version_id=two.candidate.version_id) > 5)
    assert two.logged(arm="shadow", cost_nano=0, kind="classify") == two.logged(arm="shadow")
    events = {event.model for event in two.door.events(two.person)}
    assert events == {two.show(rollout)["stable"]["model"]}, "a shadow is in no usage"


def test_a_broken_and_a_slow_shadow_harm_nobody(two: Two) -> None:
    rollout = two.begin("shadow")
    candidate = two.candidate.version_id.hex
    two.door.engine.fails.add(candidate)
    assert {two.ask(f"user {i}").status_code for i in range(20)} == {200}
    two.door.engine.fails.discard(candidate)
    two.door.engine.takes[candidate] = 5.0
    took = []
    for i in range(30):
        began = time.perf_counter()
        assert two.ask(f"user {i}").status_code == 200
        took.append(time.perf_counter() - began)
    assert max(took) < 4.0, "none waited for the shadow, which takes five seconds"
    until(lambda: two.show(rollout)["shadow"]["dropped"] >= 20)
    assert two.look(rollout) == "shadow"
    assert two.show(rollout)["state"] == "running"


def test_a_stable_answer_that_is_no_number_is_no_fault_of_the_shadow(two: Two) -> None:
    rollout, engine = two.begin("shadow"), two.door.engine
    stable, candidate = two.stable.version_id.hex, two.candidate.version_id.hex
    until(lambda: two.show(rollout)["shadow"]["compared"] > 0)
    before, asked = two.show(rollout)["shadow"], engine.asked[candidate]
    engine.raves.add(stable)
    for i in range(6):
        two.ask(f"user {i}")
        until(lambda i=i: two.show(rollout)["shadow"]["dropped"] == before["dropped"] + i + 1)
    assert engine.asked[candidate] == asked, "there is nothing to compare with"
    engine.raves = {candidate}
    two.ask("user")
    until(lambda: two.logged(arm="shadow", status=500, code="shadow_failed") == 1)
    engine.raves.clear()
    two.ask("user")
    until(lambda: two.show(rollout)["shadow"]["compared"] == before["compared"] + 1)
    assert two.show(rollout)["figures"]["candidate"]["errors"] == 1, "its own"


def test_two_versions_of_one_model_share_an_alias_and_the_name_stays(door: Reading, artefact: Made) -> None:
    person = on_plan("ada")
    name = f"ft:all-MiniLM-L6-v2:{person.tenant.slug}:triage:{new_id().hex[:8]}"
    first = door.deployed(person, published(person, artefact, name), ALIAS)
    second_version: ModelVersion = published(person, artefact, name)
    second = door.deployed(person, second_version)
    assert (first.state, second.state) == ("live", "live")
    two = Two(door, person, first, second)
    two.begin("ab")
    seen = {two.ask(f"user {i}").headers["x-model-version"] for i in range(40)}
    assert seen == {f"{name}; version=1", f"{name}; version=2"}
    by_name = {"model": name, "input": "a"}
    assert door.post("/v1/classify", by_name, person.key).headers["x-model-version"] == f"{name}; version=1"
    with tenant_scope(person.tenant.id):
        deployment_stop(deployment=first)
    until(lambda: door.post("/v1/classify", by_name, person.key).headers["x-model-version"].endswith("version=2"))
    with tenant_scope(person.tenant.id):
        assert Rollout.objects.get().state == "rolled_back"


def test_an_alias_that_is_moved_ends_the_rollout(two: Two, artefact: Made) -> None:
    rollout = two.begin("ab")
    two.door.deployed(two.person, publish(two.person, artefact), ALIAS)
    until(lambda: "x-rollout-arm" not in two.ask("user").headers)
    assert two.look(rollout) == "moved"
    assert two.show(rollout)["reason"] == f"'{ALIAS}' was moved to another version."

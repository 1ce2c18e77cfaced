"""What rollouts are counted by: everything once, whatever its size, and however late it comes."""

from __future__ import annotations

import re
import threading

import psycopg
import pytest
from django.conf import settings
from django.db import connection, connections
from django.db.models import Q

from billing.services.gate import sink_dsn
from config import embedded
from kit.clock import now
from kit.ids import new_id
from serving import rounds
from serving.models import RequestRecord, Rollout
from serving.models.counts import RolloutCount
from serving.requests import RequestLog, RequestNote, wall_ms
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.serving.logged import log_arm
from tests.serving.rolling import ALIAS, begun, figures, judged, live, logged, look, sums, too_slow


@pytest.fixture
def ada() -> Person:
    return make_person("ada")


def test_a_hundred_thousand_calls_are_counted_once(ada: Person) -> None:
    """What a look costs depends on what is new, not on what there is: a second look reads a handful of rows."""
    stable, candidate = live(ada, ALIAS), live(ada)
    made = begun(ada, candidate, share=50)
    for arm, row in (("stable", stable), ("candidate", candidate)):
        log_arm(ada, 50_000, alias=ALIAS, version=row.version_id, arm=arm)
    assert look(ada, made) == "waiting"
    assert sums(ada)[0] | {"timed": 0} == {
        "calls": 50_000, "errors": 500, "slow": 0, "timed": 0, "judged": 0, "wrong": 0
    }  # fmt: skip
    logged(ada, candidate, arm="candidate", status=500)
    assert look(ada, made) == "waiting"
    assert figures(ada, made) == (50_001, 501, 0, 0)
    with psycopg.connect(embedded.superuser_url(settings.HOME, embedded.DATABASE), autocommit=True) as everybody:
        everybody.execute("ANALYZE serving_requestrecord")  # as the server does in its own time after so many rows
    with tenant_scope(ada.tenant.id):
        connection.cursor().execute("SET LOCAL enable_seqscan = off")
        row, rollout = RolloutCount.objects.get(), Rollout.objects.select_related("stable", "candidate").get()
        new = rounds.records_of(rollout, "candidate", rollout.created_at)
        plan = new.filter(~Q(arm=""), written__gte=row.counted_to).explain()
    assert re.search(r"serving_request_arm\b", plan), plan
    assert ada.browser.get(f"{ada.workspace}/rollouts/{made['id']}/").status_code == 200
    assert ada.api.post(f"/v1/rollouts/{made['id']}/rollback").json()["state"] == "rolled_back"
    assert figures(ada, made)[0] == 50_001, "kept as it ended"


def test_a_writer_that_is_late_is_counted_when_it_comes_and_once(ada: Person) -> None:
    """A transaction that began long before the look and commits after it: a mark by time or by number would miss it."""
    live(ada, ALIAS)
    candidate = live(ada)
    made = begun(ada, candidate, share=50)
    wrote, go = threading.Event(), threading.Event()

    def late() -> None:
        with tenant_scope(ada.tenant.id):
            logged(ada, candidate, arm="candidate", status=500)
            wrote.set()
            go.wait(20)
        connections.close_all()

    writer = threading.Thread(target=late)
    writer.start()
    assert wrote.wait(20)
    for _ in range(3):
        logged(ada, candidate, arm="candidate")
        assert look(ada, made) == "waiting"
    assert figures(ada, made)[:2] == (3, 0), "what can be seen counts at once"
    assert sums(ada)[0]["calls"] == 0, "and stays open while an older writer runs"
    go.set()
    writer.join()
    for _ in range(3):
        assert look(ada, made) == "waiting"
        assert figures(ada, made)[:2] == (4, 1)
    assert (sums(ada)[0]["calls"], sums(ada)[0]["errors"]) == (4, 1)


def test_a_line_that_failed_and_was_asked_again_is_counted_as_it_ended(ada: Person) -> None:
    live(ada, ALIAS)
    candidate = live(ada)
    made = begun(ada, candidate, share=50)
    line = {
        "id": new_id(), "tenant_id": ada.tenant.id, "project_id": ada.project.id, "key_id": None, "model": ALIAS,
        "kind": "batch_classify", "version_id": candidate.version_id, "arm": "candidate", "at_ms": wall_ms(),
    }  # fmt: skip
    log = RequestLog(sink_dsn())
    for status, errors in ((500, 1), (500, 1), (200, 0)):
        log.note(RequestNote(**line, status=status))
        log.flush()
        assert look(ada, made) == "waiting"
        assert figures(ada, made)[:2] == (1, errors)
    log.stop()
    assert (sums(ada)[0]["calls"], sums(ada)[0]["errors"]) == (1, 0)


def test_feedback_counts_once_and_as_it_was_said_last(ada: Person) -> None:
    live(ada, ALIAS)
    candidate = live(ada)
    made = begun(ada, candidate, share=50)
    requests = [logged(ada, candidate, arm="candidate") for _ in range(3)]
    judged(ada, requests, correct=True)
    judged(ada, requests[:1], correct=False)
    for _ in range(2):
        assert look(ada, made) == "waiting"
        assert figures(ada, made) == (3, 0, 3, 1)
    assert (sums(ada)[0]["judged"], sums(ada)[0]["wrong"]) == (3, 1)
    judged(ada, requests, correct=False)
    judged(ada, requests[:1], correct=True)
    assert figures(ada, made) == (3, 0, 3, 2), "before a tick has added it up"
    for _ in range(2):
        assert look(ada, made) == "waiting"
        assert figures(ada, made) == (3, 0, 3, 2)
    assert (sums(ada)[0]["judged"], sums(ada)[0]["wrong"]) == (3, 2)


def test_feedback_that_comes_after_the_share_was_raised_still_rolls_back(ada: Person) -> None:
    stable, candidate = live(ada, ALIAS), live(ada)
    made = begun(ada, candidate, share=50)
    both = (("stable", stable), ("candidate", candidate))
    first = [logged(ada, row, arm=arm) for arm, row in both for _ in range(30)]
    assert look(ada, made) == "waiting"
    ada.api.post(f"/v1/rollouts/{made['id']}", {"share": 80})
    for arm, row in both:
        judged(ada, [logged(ada, row, arm=arm) for _ in range(10)], correct=True)
    assert look(ada, made) == "waiting"
    judged(ada, first[:30], correct=True)
    assert look(ada, made) == "waiting"
    judged(ada, first[30:], correct=False)
    assert look(ada, made) == "quality"
    found = ada.api.get(f"/v1/rollouts/{made['id']}").json()
    assert found["reason"] == (
        "30 of 30 judged answers of the candidate were wrong (100.0%), of the stable version 0 of 30 (0.0%). "
        "That was while it had 50% of the callers."
    )
    numbers = found["events"][-1]["numbers"]
    assert (numbers["round"], numbers["share"], numbers["candidate"]["wrong"]) == (1, 50, 30)
    assert numbers["evidence"] >= numbers["enough"] == 300
    assert (found["figures"]["candidate"]["judged"], found["figures"]["candidate"]["wrong"]) == (40, 30)


def test_a_database_that_came_from_a_dump_begins_to_count_anew(ada: Person) -> None:
    """Numbers of transactions begin anew there; nothing is counted twice, and what comes next is counted at once."""
    stable, candidate = live(ada, ALIAS), live(ada)
    made = begun(ada, candidate, share=50)
    logged(ada, candidate, arm="candidate")
    assert look(ada, made) == "waiting"
    with tenant_scope(ada.tenant.id):
        for rows in (RolloutCount.objects.all(), RequestRecord.objects.all()):
            column = "counted_to" if rows.model is RolloutCount else "written"
            rows.update(**{column: 1 << 60})
    for _ in range(2):
        assert look(ada, made) == "waiting"
        assert figures(ada, made)[:2] == (1, 0)
    for _ in range(20):
        logged(ada, candidate, arm="candidate", status=500)
        logged(ada, stable, arm="stable")
    assert look(ada, made) == "errors"
    assert figures(ada, made)[:2] == (21, 20)


def test_a_rollout_with_too_much_that_is_new_can_be_seen_and_ended(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(ada, ALIAS)
    made = begun(ada, live(ada))
    too_slow(monkeypatch)
    page = ada.browser.get(f"{ada.workspace}/rollouts/{made['id']}/")
    assert page.status_code == 200 and "than can be counted while you wait" in page.content.decode()
    refused = ada.api.get(f"/v1/rollouts/{made['id']}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "span_too_large")
    assert look(ada, made) == "waiting"
    assert ada.api.post(f"/v1/rollouts/{made['id']}/rollback").json()["state"] == "rolled_back"


def test_a_rollout_that_a_server_of_an_earlier_version_began_is_counted(ada: Person) -> None:
    live(ada, ALIAS)
    candidate = live(ada)
    made = begun(ada, candidate, share=50)
    logged(ada, candidate, arm="candidate")
    with tenant_scope(ada.tenant.id):
        RolloutCount.objects.all().delete()
    assert figures(ada, made)[0] == 1
    assert look(ada, made) == "waiting"
    assert (figures(ada, made)[0], sums(ada)[0]["calls"]) == (1, 1)


def test_a_share_that_an_older_server_set_has_a_round_of_its_own(ada: Person) -> None:
    """It knows of no sums: it writes the rollout alone."""
    live(ada, ALIAS)
    candidate = live(ada)
    made = begun(ada, candidate, share=5)
    logged(ada, candidate, arm="candidate")
    assert look(ada, made) == "waiting"
    with tenant_scope(ada.tenant.id):
        Rollout.objects.update(share=5000, round=2, round_at=now())
    logged(ada, candidate, arm="candidate", status=500)
    assert look(ada, made) == "waiting"
    with tenant_scope(ada.tenant.id):
        found = RolloutCount.objects.get().rounds
    assert [(one["share"], one["candidate"]["calls"], one["candidate"]["errors"]) for one in found] == [
        (500, 1, 0), (5000, 1, 1)
    ]  # fmt: skip

"""The log of an organisation: what it shows, how it is filtered, and what is taken from it."""

import csv
import io
import json
import re

import pytest

from billing.services.entitlements import plan_grant
from kit.clock import now
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person


def test_the_log_says_times_in_words_and_takes_no_name_for_one(cast: Cast) -> None:
    browser, home, key = cast.owner.browser, cast.owner.home, cast.owner.key_row
    browser.post(f"{cast.owner.workspace}/keys/{key.public_id}/rotate", {"overlap": "24", "once": "a"})
    browser.post(f"{home}/settings", {"name": "2026-99-99T00:00:00Z"})
    browser.post(f"{home}/settings", {"name": "9999-12-31T23:59:59-12:00"})
    page = " ".join(browser.get(f"{home}/audit").content.decode().split())
    assert re.search(r"works until: \d{1,2} \w{3} \d{4} \d\d:\d\d UTC", page)
    assert "2026-99-99T00:00:00Z" in page and "9999-12-31T23:59:59-12:00" in page


def test_the_audit_log_filters_by_action_actor_and_day(cast: Cast) -> None:
    browser, home = cast.owner.browser, cast.owner.home
    browser.post(f"{home}/settings", {"name": "Renamed Works"})
    page = browser.get(f"{home}/audit", {"action": "tenant.renamed"}).content.decode()
    assert "Renamed Works" in page and "key.created" not in re.sub(r"<select.*?</select>", "", page, flags=re.S)
    assert "No change matches" in browser.get(f"{home}/audit", {"actor": "nobody"}).content.decode()
    assert "No change matches" in browser.get(f"{home}/audit", {"until": "2020-01-01"}).content.decode()
    assert browser.get(f"{home}/audit", {"since": "yesterday", "page": "-4"}).status_code == 200
    assert browser.get(f"{home}/audit", {"since": "9999-12-31", "until": "9999-12-31"}).status_code == 200


def export(person: Person, **filters: str) -> list[dict[str, str]]:
    """The log as a spreadsheet reads it."""
    answer = person.browser.get(f"{person.home}/audit.csv", filters)
    assert answer.status_code == 200, answer.content
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_log_is_taken_as_csv_on_the_plan_that_has_it_and_others_are_told_which(cast: Cast) -> None:
    browser, home = cast.owner.browser, cast.owner.home
    page = browser.get(f"{home}/audit").content.decode()
    assert "audit.csv" not in page and "CSV comes with the Team plan" in page
    refused = browser.get(f"{home}/audit.csv")
    assert refused.status_code == 403 and "comes with the Team plan" in refused.content.decode()
    with tenant_scope(cast.owner.tenant.pk):
        plan_grant(plan="team", reason="tests", created_by="tests")
    assert f"{home}/audit.csv" in browser.get(f"{home}/audit").content.decode()
    assert "tenant.created" in {row["action"] for row in export(cast.owner)}


def test_the_csv_of_the_log_holds_no_formula(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.pk):
        plan_grant(plan="team", reason="tests", created_by="tests")
    cast.owner.browser.post(f"{cast.owner.home}/settings/projects", {"name": '=HYPERLINK("http://evil")'})
    (made,) = export(cast.owner, action="project.")
    assert list(made)[:4] == ["time", "actor_kind", "actor", "action"]
    assert made["object"] == '\'=HYPERLINK("http://evil")'


def test_the_csv_holds_every_row_of_the_filter_once_and_who_took_it(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.people.audit.PARCEL", 2)
    with tenant_scope(cast.owner.tenant.pk):
        plan_grant(plan="team", reason="tests", created_by="tests")
    common = {"actor_kind": "system", "actor_label": "Tunesmith", "action": "tenant.renamed", "target_kind": "tenant"}
    with tenant_scope(cast.owner.tenant.pk):
        for moment in (now(), now()):
            for name in "abc":  # of one moment, as those of one transaction may be
                AuditEvent.objects.create(at=moment, target_label=f"{name} {moment}", **common)
    rows = export(cast.owner, action="tenant.renamed")
    assert len(rows) == len({row["object"] for row in rows}) == 6
    assert [row["time"] for row in rows] == sorted((row["time"] for row in rows), reverse=True)
    assert export(cast.owner, action="tenant.renamed", until="2020-01-01") == []
    notes = [
        json.loads(row["after"]) for row in export(cast.owner, action="audit.exported", actor=cast.owner.user.email)
    ]
    assert {"action": "tenant.renamed"} in notes and len(notes) == 3, "this one is in the log as well"

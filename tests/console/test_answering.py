"""When a deployment answers, on its page; and why it answered, beside the playground."""

from __future__ import annotations

import re

import pytest

from registry.models import ModelVersion
from serving.explaining import Piece
from serving.models import Deployment
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.console.things import made_deployment

TABLE = {
    "confidence": 0.95,
    "method": "clopper-pearson",
    "n": 800,
    "points": [
        {"threshold": 0.0, "n": 800, "right": 680, "precision": 0.85, "at_least": 0.82, "coverage": 1.0},
        {"threshold": 0.7, "n": 560, "right": 532, "precision": 0.95, "at_least": 0.92, "coverage": 0.7},
        {"threshold": 0.95, "n": 240, "right": 238, "precision": 0.9917, "at_least": 0.965, "coverage": 0.3},
    ],
}


def measured(person: Person) -> Deployment:
    """A live deployment whose version has a table."""
    row = made_deployment(person)
    with tenant_scope(person.tenant.id):
        ModelVersion.objects.filter(pk=row.version_id).update(report={"abstention": TABLE})
    return row


def page(person: Person, row: Deployment) -> str:
    answer = person.browser.get(f"{person.workspace}/deployments/{row.public_id}/")
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def save(person: Person, row: Deployment, percent: str) -> tuple[int, str]:
    path = f"{person.workspace}/deployments/{row.public_id}/answering"
    answer = person.browser.post(path, {"percent": percent})
    return answer.status_code, " ".join(answer.content.decode().split())


def precision(row: Deployment) -> float | None:
    with tenant_scope(row.tenant_id):
        found: float | None = Deployment.objects.get(pk=row.pk).precision
    return found


def test_the_page_draws_the_curve_and_keeps_what_was_chosen(cast: Cast) -> None:
    ada = cast.owner
    row = measured(ada)
    shown = page(ada, row)
    assert "It answers every text." in shown and "At most 96.5" in shown and "800 rows" in shown
    assert shown.count('<path class="s1"') == 1 and shown.count('<path class="s2"') == 1
    assert save(ada, row, "92")[0] == 302
    assert precision(row) == 0.92
    shown = page(ada, row)
    assert "at least 92 of 100 answers are right" in shown
    assert re.search(r"it answers 70\s?%, and 95\.0\s?% of those are right", shown)
    with tenant_scope(ada.tenant.id):
        event = AuditEvent.objects.get(action="deployment.precision")
    assert (event.before, event.after) == ({"precision": None}, {"precision": 0.92})
    playground = ada.browser.get(f"{ada.workspace}/playground/").content.decode()
    assert re.search(r'name="threshold" value="0.7"', playground), "the playground goes by the same rule"
    assert save(ada, row, "")[0] == 302
    assert precision(row) is None


@pytest.mark.parametrize(
    ("percent", "words"),
    [("97", "at most 0.965"), ("101", "100"), ("0", "0.1"), ("-5", "0.1"), ("many", "number"), ("nan", "number")],
)
def test_what_cannot_be_promised_is_refused_on_the_page(cast: Cast, percent: str, words: str) -> None:
    row = measured(cast.owner)
    status, shown = save(cast.owner, row, percent)
    assert status == 422 and words in shown and "There is a problem" in shown
    assert precision(row) is None


def test_a_version_that_was_never_measured_says_so(cast: Cast) -> None:
    row = made_deployment(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        ModelVersion.objects.filter(pk=row.version_id).update(report={})
    assert "Train it again to have it measured" in page(cast.owner, row)
    status, shown = save(cast.owner, row, "90")
    assert status == 422 and "Train it again" in shown


@pytest.mark.parametrize(
    "broken", [{"points": "x"}, [], "no", {"confidence": 2, "n": 1, "points": []}, {"points": [{}]}]
)
def test_a_table_that_is_none_breaks_no_page(cast: Cast, broken: object) -> None:
    row = made_deployment(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        ModelVersion.objects.filter(pk=row.version_id).update(report={"abstention": broken})
    assert "Train it again to have it measured" in page(cast.owner, row)


def test_viewers_see_the_curve_and_change_nothing(cast: Cast) -> None:
    from tests.conftest import make_person

    row = measured(cast.owner)
    viewer = make_person("vic", beside=cast.owner, role="viewer")
    assert "When it answers" in page(viewer, row) and 'name="percent"' not in page(viewer, row)
    assert save(viewer, row, "90")[0] == 403
    assert precision(row) is None


def test_the_word_that_added_most_is_tinted_deepest() -> None:
    from console.views.why import tinted

    found = tinted([Piece("a", 0.4), Piece(" "), Piece("b", 0.1), Piece("c", -0.2), Piece("d", 0.004)])
    assert [(one.tone, one.against) for one in found] == [
        ("hm-9", False), ("", False), ("hm-2", False), ("", True), ("", False),
    ]  # fmt: skip
    assert tinted([Piece("a", 0.022)])[0].tone == "hm-4", "a small effect stays pale where nothing is larger"

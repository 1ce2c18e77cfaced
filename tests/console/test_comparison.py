"""Two reports beside each other, the tables behind drawings, and what a threshold does."""

import pytest

from console import reports
from console.report_tables import TABLES, thresholds_of
from registry.models import ModelVersion
from tenants.scope import tenant_scope
from tests.conftest import Cast
from tests.console import things


def test_two_reports_stand_beside_each_other_and_say_whether_the_same_rows_measured_them(cast: Cast) -> None:
    first, second = things.made_model(cast.owner, suffix="one"), things.made_model(cast.owner, suffix="two")
    page = f"{cast.owner.workspace}/models/compare?a={first.public_id}&b={second.public_id}"
    text = cast.owner.browser.get(page).content.decode()
    assert "one:" in text and "two:" in text and "Different test rows measured the two" in text
    with tenant_scope(cast.owner.tenant.id):
        ModelVersion.objects.filter(pk__in=[first.pk, second.pk]).update(dataset_sha256="a" * 64)
    assert "The same test rows measured both" in cast.owner.browser.get(page).content.decode()


def test_a_strangers_report_is_never_compared_with(cast: Cast) -> None:
    mine, theirs = things.made_model(cast.owner, suffix="mine"), things.made_model(cast.stranger, suffix="secret")
    text = cast.owner.browser.get(f"{cast.owner.workspace}/models/compare?a={mine.public_id}&b={theirs.public_id}")
    assert "secret" not in text.content.decode()


def test_one_report_alone_offers_no_comparison(cast: Cast) -> None:
    version = things.made_model(cast.owner)
    page = f"{cast.owner.workspace}/models/{version.model.public_id}/"
    assert "Compare…" not in cast.owner.browser.get(page).content.decode()
    assert "nothing to compare" in cast.owner.browser.get(f"{cast.owner.workspace}/models/compare").content.decode()
    things.made_model(cast.owner, suffix="another")
    assert "Compare…" in cast.owner.browser.get(page).content.decode()


@pytest.mark.parametrize("name", sorted(TABLES))
def test_each_table_of_a_report_downloads(cast: Cast, name: str) -> None:
    version = things.made_writer(cast.owner) if name == "hardest" else things.made_model(cast.owner)
    page = f"{cast.owner.workspace}/models/{version.model.public_id}/csv"
    answer = cast.owner.browser.get(f"{page}?version=1&table={name}")
    lines = answer.content.decode().splitlines()
    assert answer["Content-Type"].startswith("text/csv") and len(lines) > 1
    assert name in answer["Content-Disposition"]
    assert cast.owner.browser.get(f"{page}?table=moon").status_code == 404


def test_the_points_of_a_jobs_chart_download(cast: Cast) -> None:
    job = things.made_job(cast.owner, state="succeeded", events=16)
    page = f"{cast.owner.workspace}/jobs/{job.public_id}/csv"
    lines = cast.owner.browser.get(f"{page}?chart=loss").content.decode().splitlines()
    assert lines[0] == "step,train_loss,valid_loss" and len(lines) == 17
    assert cast.owner.browser.get(f"{page}?chart=moon").status_code == 404


def test_a_threshold_trades_answers_for_right_ones() -> None:
    bins = [
        {"low": 0.0, "high": 0.5, "n": 0, "confidence": 0.0, "accuracy": 0.0},
        {"low": 0.5, "high": 0.8, "n": 50, "confidence": 0.65, "accuracy": 0.6},
        {"low": 0.8, "high": 1.0, "n": 150, "confidence": 0.9, "accuracy": 1.0},
    ]
    low, high = thresholds_of({"calibration": {"bins": bins}})
    assert (low.at, low.share, low.accuracy, low.n) == (0.5, 1.0, 0.9, 200)
    assert (high.at, high.share, high.accuracy, high.n) == (0.8, 0.75, 1.0, 150)
    assert thresholds_of({}) == []


def test_long_threshold_tables_keep_their_ends() -> None:
    bins = [{"low": i / 15, "high": (i + 1) / 15, "n": 4, "confidence": 0.5, "accuracy": 0.5} for i in range(15)]
    lines = thresholds_of({"calibration": {"bins": bins}}, most=8)
    assert len(lines) == 8 and lines[0].at == 0 and lines[-1].at == pytest.approx(14 / 15)


def test_a_report_draws_the_curve_of_all_answers_and_of_a_class(cast: Cast) -> None:
    version = things.made_model(cast.owner)
    page = f"{cast.owner.workspace}/models/{version.model.public_id}/"
    whole = cast.owner.browser.get(page).content.decode()
    assert "Acting on answers of at least 0.50" in whole and "i want my money" in whole
    one = cast.owner.browser.get(page, {"class": "human_agent"}).content.decode()
    assert "the threshold with the best F1 on the validation rows" in one
    assert "only this class" in one and "i want my money" not in one
    assert cast.owner.browser.get(page, {"class": "no such class"}).status_code == 200
    lines = cast.owner.browser.get(f"{page}csv?table=curves").content.decode().splitlines()
    assert lines[0] == "label,threshold,precision,recall" and lines[1].startswith(",")
    assert sum(line.startswith("human_agent,") for line in lines) > 10


def test_a_report_made_before_there_were_curves_still_opens(cast: Cast) -> None:
    version = things.made_model(cast.owner)
    old = {key: part for key, part in things.report().items() if key not in ("pr", "errors_by_class")}
    with tenant_scope(cast.owner.tenant.id):
        ModelVersion.objects.filter(pk=version.pk).update(report=old)
    page = f"{cast.owner.workspace}/models/{version.model.public_id}/"
    shown = cast.owner.browser.get(page, {"class": "human_agent"}).content.decode()
    assert "Confusion matrix" in shown and "i want my money" in shown and "Precision and recall" not in shown
    assert cast.owner.browser.get(f"{page}csv?table=curves").content == b"label,threshold,precision,recall\r\n"


def test_a_large_matrix_shows_the_worst_classes_and_all_on_request() -> None:
    labels = [f"class_{i:02d}" for i in range(30)]
    counts = [[9 if i == j else 0 for j in range(30)] for i in range(30)]
    report = things.report() | {"labels": labels, "confusion": counts}
    assert reports.report_of(report).matrix.hidden == 10
    assert reports.report_of(report, whole=True).matrix.hidden == 0

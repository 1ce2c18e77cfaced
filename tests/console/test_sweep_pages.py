"""The pages of sweeps: the form with its presets, what it refuses and where, the comparison, and the way back."""

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.services.entitlements import override_set
from kit import charts
from registry.services import alias_set
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.console import things
from tests.registry.making import make_model
from tests.training import searching
from training.models import Sweep

pytestmark = pytest.mark.slow  # drives many jobs through the queue


@pytest.fixture(scope="module")
def ada() -> Person:
    """One owner for the whole file, with room for many trials and data to train on."""
    person = make_person("ada")
    with tenant_scope(person.tenant.id):
        override_set(reason="many trials", created_by="test", limits={"queued_jobs": 100})
    things.made_version(person)
    return person


def page(person: Person, path: str) -> str:
    """A page's text."""
    answer = person.browser.get(f"{person.workspace}/{path}")
    assert answer.status_code == 200, answer.status_code
    return str(answer.content.decode())


def filled(person: Person, **changes: Any) -> dict[str, Any]:
    """The fields of the quick preset."""
    version = things.made_version(person)
    return {
        "dataset": version.public_id,
        "model": "all-MiniLM-L6-v2",
        "strategy": "random",
        "methods": ["lora", "head"],
        "learning_rate_multiplier": "0.3 to 3",
        "batch_size": "16, 32",
        "trials": "6",
        "parallel": "2",
        "suffix": "triage",
        "seed": "3",
    } | changes


def send(person: Person, **changes: Any) -> Any:
    """Post the form."""
    return person.browser.post(f"{person.workspace}/sweeps/new", filled(person, **changes))


@pytest.mark.parametrize(("preset", "strategy"), [("quick", "random"), ("careful", "halving"), ("grid", "grid")])
def test_each_preset_is_a_form_that_can_be_sent_as_it_is(ada: Person, preset: str, strategy: str) -> None:
    answer = ada.browser.get(f"{ada.workspace}/sweeps/new?preset={preset}")
    form = answer.context_data["form"]
    fields: dict[str, Any] = {}
    for bound in form:
        value = bound.value()
        if value is None and bound.name == "model":
            value = bound.field.choices[0][0]  # as a browser does
        if value is not None:
            fields[bound.name] = value
    sent = ada.browser.post(f"{ada.workspace}/sweeps/new", fields)
    assert sent.status_code == 302, sent.context_data["form"].errors
    with tenant_scope(ada.tenant.id):
        assert Sweep.objects.order_by("-id")[0].strategy == strategy


def test_the_form_becomes_the_space_that_was_typed(ada: Person) -> None:
    answer = send(ada, n_epochs="2, 4", max_price="3.5")
    assert answer.status_code == 302
    with tenant_scope(ada.tenant.id):
        sweep = Sweep.objects.order_by("-id")[0]
    assert sweep.space == {
        "x_method": ["lora", "head"],
        "n_epochs": [2, 4],
        "batch_size": [16, 32],
        "learning_rate_multiplier": {"min": 0.3, "max": 3.0, "scale": "log"},
    }
    assert (sweep.name, sweep.seed, sweep.max_price_nano) == ("triage", 3, 3_500_000_000)
    assert len(sweep.settings) == 6 and sweep.created_by == ada.user.email


def test_ranks_are_searched_for_lora_and_compared_on_a_chart(ada: Person) -> None:
    assert (
        send(ada, strategy="grid", learning_rate_multiplier="", batch_size="", x_lora_rank="4, 16").status_code == 302
    )
    with tenant_scope(ada.tenant.id):
        sweep = Sweep.objects.order_by("-id")[0]
        Sweep.objects.filter(pk=sweep.pk).update(parallel=3)
    assert sweep.settings == [
        {"x_method": "lora", "x_lora_rank": 4},
        {"x_method": "lora", "x_lora_rank": 16},
        {"x_method": "head"},
    ]
    assert searching.step(sweep) == "running"
    for job, score in zip(searching.trials(sweep), (0.8, 0.7, 0.9), strict=True):
        searching.end(job, score=score)
    assert searching.step(sweep) == "succeeded"
    text = page(ada, f"sweeps/{sweep.public_id}/")
    assert "Validation macro-F1 by LoRA rank, log scale" in text
    assert "The best of 2 scores, 0.800, has LoRA rank 4." in text, "the head has no rank, though it won"
    ranks = {trial["setting"]["x_method"]: trial["setting"].get("x_lora_rank") for trial in trials_of(ada, sweep)}
    assert ranks == {"lora": 4, "head": None}
    assert "LoRA rank" in page(ada, f"jobs/{searching.trials(sweep)[0].public_id}/")


def trials_of(person: Person, sweep: Sweep) -> list[dict[str, Any]]:
    """Its trials over the API."""
    found: list[dict[str, Any]] = person.api.get(f"{searching.SWEEPS}/{sweep.public_id}/trials").json()["data"]
    return found


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"methods": []}, "methods"),
        ({"learning_rate_multiplier": "fast"}, "learning_rate_multiplier"),
        ({"learning_rate_multiplier": "3 to 0.3"}, "learning_rate_multiplier"),
        ({"learning_rate_multiplier": "0, 1"}, "learning_rate_multiplier"),
        ({"learning_rate_multiplier": "1,,2"}, "learning_rate_multiplier"),
        ({"learning_rate_multiplier": "NaN"}, "learning_rate_multiplier"),
        ({"learning_rate_multiplier": "9" * 200}, "learning_rate_multiplier"),
        ({"learning_rate_multiplier": "1" * 400}, "learning_rate_multiplier"),
        ({"batch_size": "1.5"}, "batch_size"),
        ({"batch_size": "0 to 9999"}, "batch_size"),
        ({"n_epochs": "2, 2"}, "n_epochs"),
        ({"x_lora_rank": "99"}, "x_lora_rank"),
        ({"x_lora_rank": "4, 8", "methods": ["head"]}, "x_lora_rank"),
        ({"trials": "1"}, "trials"),
        ({"trials": ""}, "trials"),
        ({"trials": "9999"}, "trials"),
        ({"parallel": "0"}, "parallel"),
        ({"suffix": "two words"}, "suffix"),
        ({"max_price": "0.000001"}, "max_price"),
        ({"dataset": ""}, "dataset"),
        ({"strategy": "halving", "trials": "2", "max_epochs": "9"}, "trials"),
        ({"strategy": "halving", "max_epochs": "1"}, "max_epochs"),
        ({"strategy": "grid"}, "learning_rate_multiplier"),
        ({"strategy": "bayes"}, "strategy"),
        ({"strategy": ""}, "strategy"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_at_its_field_and_nothing_is_lost(
    ada: Person, changes: dict[str, Any], field: str
) -> None:
    with tenant_scope(ada.tenant.id):
        before = Sweep.objects.count()
    answer = send(ada, **changes)
    text = answer.content.decode()
    assert answer.status_code == 422 and "There is a problem" in text and "<title>Error" in text
    errors = answer.context_data["form"].errors
    assert list(errors) == [field], errors
    assert "triage" in text or "suffix" in changes
    with tenant_scope(ada.tenant.id):
        assert Sweep.objects.count() == before


def test_the_estimate_says_trials_rungs_and_price_before_the_click(ada: Person) -> None:
    wanted = filled(ada, strategy="halving", trials="18", max_epochs="9")
    text = ada.browser.post(f"{ada.workspace}/sweeps/estimate", wanted).content.decode()
    assert "26" in text and "18 × 1 epoch" in text and "2 × 9 epochs" in text and "At most" in text
    low = ada.browser.post(f"{ada.workspace}/sweeps/estimate", wanted | {"max_price": "0.01"}).content.decode()
    assert "The budget may be used up before the last trial" in low
    odd = ada.browser.post(f"{ada.workspace}/sweeps/estimate", wanted | {"trials": "1"}).content.decode()
    assert "note-danger" in odd
    plain = ada.browser.post(f"{ada.workspace}/sweeps/new", wanted | {"estimate": "1"}).content.decode()
    assert "18 × 1 epoch" in plain, "without script the page itself shows it"


def test_the_page_of_a_sweep_that_is_over_names_the_winner_and_what_to_do_with_it(ada: Person) -> None:
    sweep = things.made_sweep(ada)
    text = page(ada, f"sweeps/{sweep.public_id}/")
    winner = next(job for job in searching.trials(sweep) if job.pk == sweep.winner_id)
    assert "All trials are through." in text and "13 of 13 trials ended" in text
    assert ">Winner<" in text and "0.903" in text and "Open model" in text and ">Deploy<" in text
    assert f"jobs/new?from={winner.public_id}" in text and f"jobs/{winner.public_id}/" in text
    assert text.count("Validation macro-F1 by") >= 4 and "It diverged." in text
    assert "Cancel sweep" not in text and 'hx-trigger="every' not in text
    rows = [text.index(f">{name}<") for name in ("r3-t02", "r2-t02", "r1-t05")]
    assert rows[1] < rows[2], "the best first, what failed last"
    assert "The test rows choose nothing" in text


def test_the_page_of_a_running_sweep_refreshes_itself_and_can_be_cancelled(ada: Person) -> None:
    sweep = things.made_sweep(ada, name="half-way", over=False)
    text = page(ada, f"sweeps/{sweep.public_id}/")
    assert "Trying settings" in text and "Best so far" in text and "reserved" in text and 'hx-trigger="every' in text
    answer = ada.browser.post(f"{ada.workspace}/sweeps/{sweep.public_id}/cancel")
    assert answer.status_code == 302 and answer["Location"].endswith(f"/sweeps/{sweep.public_id}/")
    assert searching.step(sweep) == "cancelled"
    assert "Cancelled after 12 of 13 trials" in page(ada, f"sweeps/{sweep.public_id}/")


def test_the_page_says_which_trial_the_sweep_waits_for(ada: Person) -> None:
    sweep = searching.running(ada, name="waiting", parallel=1)
    trial = searching.queue(searching.trials(sweep)[0])
    assert "stands still" not in page(ada, f"sweeps/{sweep.public_id}/")
    assert ada.api.post(f"/v1/fine_tuning/jobs/{trial.public_id}/pause").status_code == 200
    assert searching.step(sweep) == "running" and len(searching.trials(sweep)) == 1
    assert "stands still" in page(ada, f"sweeps/{sweep.public_id}/")


def test_sweeps_stand_on_the_jobs_page_and_a_trial_leads_back_to_its_sweep(ada: Person) -> None:
    sweep = searching.running(ada, name="found-again")
    jobs = page(ada, "jobs/")
    assert "found-again" in jobs and "Try several settings" in jobs and "All sweeps" in jobs
    assert "found-again" in page(ada, "sweeps/")
    trial = page(ada, f"jobs/{searching.trials(sweep)[0].public_id}/")
    assert "Trial of" in trial and f"sweeps/{sweep.public_id}/" in trial
    assert "sweeps/new?data=" in page(ada, "jobs/new")


def test_without_sweeps_the_list_says_what_will_stand_there() -> None:
    person = make_person("new")
    assert "No sweeps yet." in page(person, "sweeps/")
    assert "All sweeps" not in page(person, "jobs/")
    assert "No dataset is ready." in page(person, "sweeps/new")


def test_a_viewer_sees_sweeps_and_starts_none(ada: Person) -> None:
    viewer = make_person("viewer", beside=ada, role="viewer")
    sweep = searching.create(ada)
    assert "Cancel sweep" not in page(viewer, f"sweeps/{sweep.public_id}/")
    assert viewer.browser.get(f"{viewer.workspace}/sweeps/new").status_code == 403
    assert viewer.browser.post(f"{viewer.workspace}/sweeps/{sweep.public_id}/cancel").status_code == 403


# ── The drawing ──

heights = st.floats(min_value=0, max_value=1, allow_nan=False)
numbers = st.floats(min_value=1e-3, max_value=1e3, allow_nan=False)


@given(st.lists(st.tuples(numbers, heights), min_size=1, max_size=30), st.booleans())
def test_every_point_lies_inside_the_drawing(points: list[tuple[float, float]], log: bool) -> None:
    dots = [charts.Dot(x, y, f"t{place}", chosen=place == 0) for place, (x, y) in enumerate(points)]
    drawing = ET.fromstring(charts.scatter_chart(dots, log=log))
    circles = drawing.findall(".//circle")
    assert len(circles) == len(points)
    for circle in circles:
        assert all(0 <= float(circle.get(axis, "").rstrip("%")) <= 100 for axis in ("cx", "cy"))
    assert [circle.get("class") for circle in circles].count("s1 chosen") == 1


def test_words_stand_side_by_side_and_are_escaped() -> None:
    dots = [charts.Dot("lora", 0.8, "a"), charts.Dot("<b>", 0.9, "b&c"), charts.Dot("lora", 0.7, "c")]
    drawing = ET.fromstring(charts.scatter_chart(dots))
    assert [circle.get("cx") for circle in drawing.findall(".//circle")] == ["25%", "75%", "25%"]
    assert {"lora", "<b>"} <= {text.text for text in drawing.findall(".//text")}


def test_trials_and_their_models_do_not_crowd_the_lists() -> None:
    ada = searching.roomy()
    sweep = searching.running(ada, parallel=3, name="crowd")
    models = []
    for job, score in zip(searching.trials(sweep), (0.9, 0.5, 0.4), strict=True):
        models.append(make_model(ada, suffix=f"crowd-{score}", job_id=job.pk))
        searching.end(job, score=score, made=models[-1])
    assert searching.step(sweep) == "succeeded"
    with tenant_scope(ada.tenant.id):
        alias_set(project=ada.project, alias="kept@prod", version=models[2])
    for job in searching.trials(sweep):
        assert f"/jobs/{job.public_id}/" not in page(ada, "jobs/")
        assert f"/jobs/{job.public_id}/" in page(ada, "jobs/?state=trials")
    few, everything = page(ada, "models/"), page(ada, "models/?trials=1")
    assert "1 model of a sweep" in few
    assert [f"crowd-{score}:" in few for score in (0.9, 0.5, 0.4)] == [True, False, True], (
        "the winner, and what is named"
    )
    assert all(f"crowd-{score}:" in everything for score in (0.9, 0.5, 0.4))

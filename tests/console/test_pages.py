"""The console's pages through their own doors: forms, what they refuse and how, search, downloads."""

import csv
import io
import json
import re
from collections import Counter
from typing import Any

import pytest
from django.conf import settings

from billing.services.metering import usage_rollup
from console.dataset_page import left_out
from console.showcase import EXAMPLE
from data.models import Dataset, DatasetVersion, File
from kit.clock import now
from kit.spreadsheets import safe
from registry.services import alias_set
from tenants.scope import tenant_scope
from tests.billing.money import call, store_events
from tests.conftest import Cast, Person, make_person
from tests.console import things
from tests.registry.making import make_model
from training.models import Job


def upload(content: bytes, name: str = "support.csv") -> io.BytesIO:
    """A file as a browser sends it."""
    stream = io.BytesIO(content)
    stream.name = name
    return stream


def rows(person: Person, model: Any) -> int:
    """How many rows of a table a person's tenant has."""
    with tenant_scope(person.tenant.id):
        return int(model.objects.count())


@pytest.fixture(scope="module")
def ada() -> Person:
    """One owner for the whole file; each test makes its own objects."""
    return make_person("ada")


def test_a_stranger_and_an_unknown_organisation_look_the_same(cast: Cast) -> None:
    foreign = cast.stranger.browser.get(f"{cast.owner.workspace}/")
    unknown = cast.stranger.browser.get("/o/nobody-0000/p/default/")
    assert foreign.status_code == unknown.status_code == 404


def test_nobody_is_sent_to_sign_in(cast: Cast, client: Any) -> None:
    answer = client.get(f"{cast.owner.workspace}/jobs/")
    assert answer.status_code == 302 and answer["Location"].startswith("/account/login/?next=/o/")


def test_an_upload_makes_a_file_and_shows_its_check(ada: Person) -> None:
    answer = ada.browser.post(f"{ada.workspace}/datasets/new", {"file": upload(things.csv_bytes())})
    assert answer.status_code == 302
    page = ada.browser.get(answer["Location"]).content.decode()
    assert "support.csv" in page and "Checking every row" in page


def test_an_upload_by_script_gets_the_address_in_a_header(ada: Person) -> None:
    answer = ada.browser.post(
        f"{ada.workspace}/datasets/new",
        {"file": upload(things.csv_bytes())},
        headers={"x-requested-with": "XMLHttpRequest"},
    )
    assert answer.status_code == 204 and "/files/file-" in answer["X-Location"]


@pytest.mark.parametrize(("body", "words"), [({}, "Choose a file"), ({"file": b""}, "The file is empty")])
def test_an_upload_without_bytes_says_what_to_do(ada: Person, body: dict[str, Any], words: str) -> None:
    before = rows(ada, File)
    if "file" in body:
        body = {"file": upload(body["file"])}
    answer = ada.browser.post(f"{ada.workspace}/datasets/new", body)
    text = answer.content.decode()
    assert answer.status_code == 422 and words in text and "There is a problem" in text and "<title>Error" in text
    assert rows(ada, File) == before


def test_a_viewer_reads_and_cannot_change(cast: Cast) -> None:
    viewer = make_person("vera", beside=cast.owner, role="viewer")
    file = things.made_file(cast.owner)
    assert viewer.browser.get(f"{cast.owner.workspace}/files/{file.public_id}/").status_code == 200
    refused = viewer.browser.post(f"{cast.owner.workspace}/files/{file.public_id}/delete")
    assert refused.status_code == 403 and "Your role does not allow this" in refused.content.decode()
    assert viewer.browser.post(f"{cast.owner.workspace}/datasets/new", {"file": upload(b"a,b\n")}).status_code == 403
    assert rows(cast.owner, File) == 1


def test_findings_become_a_dataset_with_the_ticked_fixes(ada: Person) -> None:
    file = things.made_file(ada)
    page = ada.browser.get(f"{ada.workspace}/files/{file.public_id}/").content.decode()
    assert "Same text, different labels" in page and "Drop duplicates" in page
    assert 'value="drop_duplicates" checked' in page and 'value="drop_conflicts" checked' not in page
    answer = ada.browser.post(
        f"{ada.workspace}/files/{file.public_id}/dataset",
        {"name": "tickets", "fix": ["drop_duplicates", "drop_conflicts"]},
    )
    assert answer.status_code == 302
    with tenant_scope(ada.tenant.id):
        dataset = Dataset.objects.get(name="tickets")
        assert [s["fix"] for s in dataset.versions.get().spec["fixes"]] == ["drop_duplicates", "drop_conflicts"]


def test_the_reasons_for_rows_left_out_are_words() -> None:
    version = DatasetVersion(dropped={"unusable:text_too_long": 2, "drop_conflicts": 8, "another": 1})
    assert left_out(version) == [
        ("Longer than the model reads", 2),
        ("Drop rows with conflicting labels", 8),
        ("another", 1),
    ]


def test_two_spellings_of_a_label_are_merged_with_one_click(ada: Person) -> None:
    content = (
        things.csv_bytes(noise=False) + b"\n".join(b"where is refund %d,Refund_Status" % i for i in range(9)) + b"\n"
    )
    file = things.made_file(ada, content=content)
    assert "Merge labels" in ada.browser.get(f"{ada.workspace}/files/{file.public_id}/").content.decode()
    ada.browser.post(f"{ada.workspace}/files/{file.public_id}/dataset", {"name": "merged", "fix": ["merge_labels"]})
    with tenant_scope(ada.tenant.id):
        version = Dataset.objects.get(name="merged").versions.get()
        assert version.spec["fixes"] == [{"fix": "merge_labels", "labels": {"Refund_Status": "refund_status"}}]


def test_an_unknown_fix_changes_nothing(ada: Person) -> None:
    file, before = things.made_file(ada), rows(ada, Dataset)
    answer = ada.browser.post(f"{ada.workspace}/files/{file.public_id}/dataset", {"name": "x", "fix": ["explode"]})
    assert answer.status_code == 400 and "is not a fix" in answer.content.decode()
    assert rows(ada, Dataset) == before


def test_rows_are_filtered_by_the_address(ada: Person) -> None:
    version = things.made_version(ada)
    page = f"{ada.workspace}/datasets/{version.dataset.public_id}/?tab=rows"
    everything = ada.browser.get(page).content.decode()
    some = ada.browser.get(f"{page}&label=refund_status&q=REFUND").content.decode()
    none = ada.browser.get(f"{page}&q=nothing+of+the+kind").content.decode()
    assert "cancel order number" in everything and "1–50" in everything
    assert "cancel order number" not in some and "where is my refund" in some
    assert "No rows match." in none
    assert ada.browser.get(f"{page}&row=x&page=-3&split=moon").status_code == 200


def test_a_job_form_keeps_what_was_typed_and_names_the_field(ada: Person) -> None:
    version, before = things.made_version(ada), rows(ada, Job)
    answer = ada.browser.post(
        f"{ada.workspace}/jobs/new",
        {"dataset": version.public_id, "model": "all-MiniLM-L6-v2", "method": "lora", "suffix": "refunds v4"},
    )
    text = answer.content.decode()
    assert answer.status_code == 422 and "Use letters, digits and dashes" in text and 'value="refunds v4"' in text
    assert 'aria-invalid="true"' in text and "data-error-summary" in text
    assert rows(ada, Job) == before


def test_a_job_is_queued_from_the_form_and_cancelled_from_its_page(ada: Person) -> None:
    version = things.made_version(ada)
    answer = ada.browser.post(
        f"{ada.workspace}/jobs/new",
        {"dataset": version.public_id, "model": "all-MiniLM-L6-v2", "method": "head", "suffix": "from-the-form"},
    )
    assert answer.status_code == 302, answer.content.decode()[:2000]
    page = ada.browser.get(answer["Location"]).content.decode()
    assert "from-the-form" in page and "Cancel job…" in page
    assert ada.browser.post(answer["Location"] + "cancel").status_code == 302
    assert "Cancelled" in ada.browser.get(answer["Location"]).content.decode()


def test_the_estimate_of_an_unfinished_form_says_what_is_missing(ada: Person) -> None:
    answer = ada.browser.post(f"{ada.workspace}/jobs/estimate", {"model": "all-MiniLM-L6-v2", "method": "lora"})
    assert answer.status_code == 200 and "once data and a base are chosen" in answer.content.decode()


def test_a_ceiling_is_rounded_up(ada: Person) -> None:
    job = things.made_job(ada, state="queued", ceiling_nano=23_700_000)
    page = ada.browser.get(f"{ada.workspace}/jobs/{job.public_id}/").content.decode()
    assert "of at most $0.03" in page and "$0.02" not in page


def test_a_failed_job_says_cause_cost_and_the_way_out(ada: Person) -> None:
    job = things.made_job(ada, state="failed", error_code="out_of_memory", error_message="Out of memory at step 88.")
    text = ada.browser.get(f"{ada.workspace}/jobs/{job.public_id}/").content.decode()
    assert (
        "Out of memory at step 88." in text and "You were charged $0.00" in text and "Retry with batch size 16" in text
    )


def test_a_report_shows_its_verdict_and_sends_its_table(ada: Person) -> None:
    version = things.made_model(ada)
    page = f"{ada.workspace}/models/{version.model.public_id}/"
    text = ada.browser.get(page).content.decode()
    assert "Better than the baseline by 0.12 macro-F1 (0.09–0.15). Weak on human_agent." in text
    assert ada.browser.get(f"{page}?version=99").status_code == 404
    table = ada.browser.get(f"{page}csv").content.decode().splitlines()
    assert table[0].startswith("label,f1") and len(table) == 5


def test_only_the_billing_page_may_lead_to_the_payment_page(ada: Person) -> None:
    billing = ada.browser.get(f"{ada.home}/billing/")["Content-Security-Policy"]
    overview = ada.browser.get(f"{ada.workspace}/")["Content-Security-Policy"]
    assert overview == settings.CONTENT_SECURITY_POLICY and "form-action 'self';" in overview
    assert str(settings.STRIPE_EMULATOR_PORT) in billing and "script-src 'self';" in billing


def test_the_billing_page_shows_this_month_as_the_bill_would(cast: Cast) -> None:
    assert "none yet" in cast.owner.browser.get(f"{cast.owner.home}/billing/").content.decode()
    store_events([call(cast.owner.tenant.id, 1, cost=30_000_000, at=now(), kind="classify")])
    usage_rollup(tenant_id=cast.owner.tenant.id)
    page = cast.owner.browser.get(f"{cast.owner.home}/billing/").content.decode()
    assert "Classification · " in page and "$0.03" in page and "none yet" not in page


def test_search_finds_own_objects_and_nobody_elses(cast: Cast) -> None:
    things.made_file(cast.owner, name="zebra-tickets.csv")
    where = f"{cast.owner.tenant.slug}/{cast.owner.project.slug}"
    mine = cast.owner.browser.get("/search", {"q": "zebra", "in": where, "format": "json"}).json()["results"]
    theirs = cast.stranger.browser.get("/search", {"q": "zebra", "in": where, "format": "json"}).json()["results"]
    assert [r["kind"] for r in mine] == ["file"] and theirs == []
    page = cast.owner.browser.get("/search", {"q": "zebra", "in": where}).content.decode()
    assert "zebra-tickets.csv" in page


def test_usage_downloads_as_a_table(ada: Person) -> None:
    answer = ada.browser.get(f"{ada.home}/usage/csv?days=7")
    assert answer.content.decode().startswith("day,model,kind,key,calls")
    assert ada.browser.get(f"{ada.home}/usage/?days=7&by=key&key=nonsense").status_code == 200


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_a_spreadsheet_never_takes_a_text_for_a_formula(text: str) -> None:
    assert safe(text) == f"'{text}" and safe(-1.5) == -1.5


def test_names_with_markup_stay_text(ada: Person) -> None:
    name = "\"'><img src=x onerror=1>{{ 7 }}.csv"
    file = things.made_file(ada, name=name)
    content = b"text,label\n" + b"".join(f't {i} <img src=y>,"<img src=z>"\nu {i},b\n'.encode() for i in range(20))
    labelled = things.made_file(ada, name=name, content=content)
    made = ada.browser.post(f"{ada.workspace}/files/{labelled.public_id}/dataset", {"name": name})
    pages = [
        f"{ada.workspace}/files/{file.public_id}/",
        f"{ada.workspace}/files/{labelled.public_id}/",
        made["Location"],
    ]
    for page in [*pages, f"{ada.workspace}/", f"{ada.workspace}/datasets/", f"{ada.workspace}/jobs/new"]:
        text = ada.browser.get(page).content.decode()
        assert "<img" not in text, page
        assert "&lt;img" in text or "jobs/new" in page or page.endswith("default/"), page


def test_the_landing_page_shows_a_real_report_and_rounds_its_figures(client: Any) -> None:
    text = client.get("/").content.decode()
    data = json.loads(EXAMPLE.read_text())
    f1, by = data["test"]["macro_f1"]["value"], data["verdict"]["better_by"]
    assert f"{f1:.2f}" != str(f1)[:4] and f"{by:.2f}" != str(by)[:4], "figures that cutting off would show wrong"
    assert f"Better than the baseline by {by:.2f} macro-F1" in text
    shown = re.search(r"<dt>macro-F1</dt>\s*<dd>\s*([\d.]+)", text)
    assert shown and shown[1] == f"{f1:.2f}"


def test_the_reference_lists_the_public_api(client: Any) -> None:
    text = client.get("/docs/api/").content.decode()
    for path in ("/v1/files", "/v1/fine_tuning/jobs", "/v1/classify"):
        assert path in text
    assert client.get("/docs/api/fine-tuning-jobs").status_code == 200
    assert client.get("/docs/api/nothing").status_code == client.get("/docs/nothing").status_code == 404


def test_every_chapter_opens(client: Any) -> None:
    from console.docs import CHAPTERS

    for slug in CHAPTERS:
        assert client.get(f"/docs/{slug}").status_code == 200


def test_the_quick_start_links_its_data_and_says_how_much_it_is(client: Any) -> None:
    answer = client.get("/docs/support_intents.csv")
    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode())))
    labels = Counter(row["label"] for row in rows)
    page = client.get("/docs/").content.decode()
    assert "/docs/support_intents.csv" in page and f"{len(rows):,} support tickets" in page
    assert f"{sum(count >= 10 for count in labels.values())} intents" in page
    assert 'data-label="Shell"' not in page, "getting the data is a step, not another way to send it"


def test_the_calculator_rates_like_the_bill(client: Any) -> None:
    text = client.get("/pricing?rows=5000&tokens=20&epochs=3&calls=100000").content.decode()
    assert "$0.12" in text and "$0.04" in text
    assert "There is a problem" in client.get("/pricing?rows=-1").content.decode()


def test_a_preference_never_leads_away(client: Any) -> None:
    answer = client.post("/theme", {"theme": "dark", "next": "https://evil.example/"})
    assert answer["Location"] == "/" and answer.cookies["theme"].value == "dark"
    assert json.dumps(answer.cookies["theme"]["samesite"]) == '"Lax"'


def test_whoever_deletes_a_named_model_is_told_that_its_names_are_gone(cast: Cast) -> None:
    version, ada = make_model(cast.owner), cast.owner
    with tenant_scope(ada.tenant.id):
        alias_set(project=ada.project, alias="triage@prod", version=version)
    page = f"{ada.workspace}/models/{version.model.public_id}"
    said = ada.browser.post(f"{page}/delete", follow=True).content.decode()
    assert "was deleted. Its alias triage@prod is gone for good." in said
    assert "is back." in ada.browser.post(f"{page}/restore", follow=True).content.decode()
    assert "gone for good" not in ada.browser.post(f"{page}/delete", follow=True).content.decode()

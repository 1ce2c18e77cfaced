"""The pages of data: columns as selects, with and without script; rows found, jumped to, with their findings."""

import pytest

from data.models import Dataset, File
from data.services import version_write
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.console import things
from tests.data.test_talks import chat_row, jsonl
from training.models import Job

LINES = things.csv_bytes(noise=False).decode().splitlines()
WIDE = "\n".join(["team," + LINES[0], *(f"team {i % 3},{line}" for i, line in enumerate(LINES[1:]))]).encode() + b"\n"


@pytest.fixture(scope="module")
def ada() -> Person:
    """One owner for the whole file; each test makes its own objects."""
    return make_person("ada")


def jobs(person: Person) -> list[Job]:
    """The person's jobs, newest first."""
    with tenant_scope(person.tenant.id):
        return list(Job.objects.order_by("-id"))


def test_the_wizard_offers_a_files_columns_with_the_detected_ones_chosen(ada: Person) -> None:
    file = things.made_file(ada, content=WIDE)
    page = ada.browser.get(f"{ada.workspace}/jobs/new?data={file.public_id}").content.decode()
    assert '<option value="text" selected>text</option>' in page
    assert '<option value="label" selected>label</option>' in page and '<option value="team">' in page
    fragment = ada.browser.get(f"{ada.workspace}/jobs/columns?dataset={file.public_id}").content.decode()
    assert '<option value="text" selected>' in fragment and "<html" not in fragment
    for nothing in ("", "file-x", "dsv_x", "junk"):
        answer = ada.browser.get(f"{ada.workspace}/jobs/columns?dataset={nothing}")
        assert answer.status_code == 200 and "Choose the data" in answer.content.decode()


def test_a_version_brings_its_columns(ada: Person) -> None:
    version = things.made_version(ada)
    page = ada.browser.get(f"{ada.workspace}/jobs/new?data={version.public_id}").content.decode()
    assert "as the dataset has them" in page and 'name="text_column"' not in page


def test_one_column_cannot_be_text_and_label(ada: Person) -> None:
    file, before = things.made_file(ada, content=WIDE), len(jobs(ada))
    form = {"dataset": file.public_id, "model": "all-MiniLM-L6-v2", "method": "head"}
    both = ada.browser.post(f"{ada.workspace}/jobs/new", {**form, "text_column": "text", "label_column": "text"})
    words = both.content.decode()
    assert both.status_code == 422 and "is the text already" in words and 'href="#id_label_column"' in words
    stale = ada.browser.post(f"{ada.workspace}/jobs/new", {**form, "text_column": "body", "label_column": "label"})
    words = stale.content.decode()
    assert stale.status_code == 422 and "has no column “body”" in words
    assert '<option value="text" selected>' in words
    assert len(jobs(ada)) == before


def test_other_columns_are_handed_on_and_detected_ones_are_not(ada: Person) -> None:
    file = things.made_file(ada, content=WIDE)
    form = {"dataset": file.public_id, "model": "all-MiniLM-L6-v2", "method": "head"}
    chosen = {"text_column": "text", "label_column": "team"}
    assert ada.browser.post(f"{ada.workspace}/jobs/new", {**form, **chosen}).status_code == 302
    assert jobs(ada)[0].columns == {"text": "text", "label": "team"}
    assert ada.browser.post(f"{ada.workspace}/jobs/new", form).status_code == 302
    assert jobs(ada)[0].columns == {}


def test_without_script_a_button_shows_the_columns_and_keeps_what_was_typed(ada: Person) -> None:
    file = things.made_file(ada, content=WIDE)
    form = {"dataset": file.public_id, "model": "all-MiniLM-L6-v2", "method": "full", "suffix": "kept", "columns": "1"}
    answer = ada.browser.post(f"{ada.workspace}/jobs/new", form)
    words = answer.content.decode()
    assert answer.status_code == 200 and '<option value="text" selected>' in words and 'value="kept"' in words
    assert 'value="full" checked' in words


def test_the_files_page_names_a_column_chosen_twice(ada: Person) -> None:
    file = things.made_file(ada, content=WIDE)
    page = f"{ada.workspace}/files/{file.public_id}"
    answer = ada.browser.post(f"{page}/columns", {"task": "text-classification", "text": "text", "label": "text"})
    assert answer.status_code == 422 and "is the text already" in answer.content.decode()
    answer = ada.browser.post(f"{page}/columns", {"text": "text", "label": "gone"})
    assert answer.status_code == 422 and "no column “gone”" in answer.content.decode()
    assert ada.browser.post(f"{page}/columns", {"text": "text", "label": "team"}).status_code == 302
    with tenant_scope(ada.tenant.id):
        assert File.objects.get(pk=file.pk).roles["label"] == "team"


def test_conversations_are_shown_as_such_from_upload_to_rows(ada: Person) -> None:
    file = things.made_file(ada, content=jsonl([chat_row(i) for i in range(60)]), name="talk.jsonl")
    page = ada.browser.get(f"{ada.workspace}/files/{file.public_id}/").content.decode()
    assert "conversations" in page and "Length percentiles" in page and 'name="messages"' in page
    other = ada.browser.get(f"{ada.workspace}/files/{file.public_id}/?as=text-classification").content.decode()
    assert 'name="label"' in other
    made = ada.browser.post(f"{ada.workspace}/files/{file.public_id}/dataset", {"name": "talk"})
    assert made.status_code == 302
    with tenant_scope(ada.tenant.id):
        version = Dataset.objects.get(name="talk").versions.get()
    version_write(tenant_id=ada.tenant.id, version_id=version.pk)
    rows = ada.browser.get(f"{made['Location']}?tab=rows").content.decode()
    assert "came with the wrong" in rows and "the right one leaves today" in rows and ">system</dt>" in rows
    assert "Use in a job" not in rows and "No base here trains on such rows" in rows
    wizard = ada.browser.get(f"{ada.workspace}/jobs/new").content.decode()
    assert version.public_id not in wizard and "talk.jsonl" not in wizard


def test_rows_are_jumped_to_and_show_their_findings(ada: Person) -> None:
    file = things.made_file(ada, content=things.csv_bytes(each=40))
    made = ada.browser.post(f"{ada.workspace}/files/{file.public_id}/dataset", {"name": "noisy"})
    with tenant_scope(ada.tenant.id):
        version = Dataset.objects.get(name="noisy").versions.get()
    version_write(tenant_id=ada.tenant.id, version_id=version.pk)
    page = f"{made['Location']}?tab=rows"
    there = ada.browser.get(f"{page}&row=161")
    assert there.status_code == 302 and there["Location"].endswith("&row=161&page=4#r161")
    shown = ada.browser.get(there["Location"]).content.decode()
    assert (
        'id="r161" data-current' in shown
        and "Duplicates" in shown
        and "row=161" not in shown.split('rel="prev"')[1][:200]
    )
    beyond = ada.browser.get(f"{page}&row=99999", follow=True).content.decode()
    assert "is not among these rows" in beyond
    copies = ada.browser.get(f"{page}&finding=exact_duplicates").content.decode()
    assert copies.count("data-row") == 1 and 'id="r161"' in copies
    everything = ada.browser.get(page).content.decode()
    assert '<option value="exact_duplicates"' in everything
    assert "Take away the filter" not in everything and "characters:" in everything
    short = ada.browser.get(f"{page}&label=human_agent&max=35&q=person").content.decode()
    assert short.count("Take away the filter") == 3 and "35 characters or fewer" in short
    assert f'href="{"?tab=rows&amp;label=human_agent&amp;q=person"}"' in short

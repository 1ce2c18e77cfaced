"""Addresses and forms that no page makes get a page with words, never an error of ours."""

import pytest

from data.models import Dataset
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person, make_person
from tests.console import things

HUGE = "9" * 5000


@pytest.fixture(scope="module")
def ada() -> Person:
    """One owner for the whole file."""
    return make_person("ada")


@pytest.mark.parametrize("path", ["/theme", "/keys"])
@pytest.mark.parametrize(
    "wanted", ["-1", "NaN", "a\x00b", "<script>", "//evil.example", "http://evil.example", "\\evil"]
)
def test_a_preference_goes_back_to_pages_of_ours_only(cast: Cast, path: str, wanted: str) -> None:
    answer = cast.owner.browser.post(path, {"next": wanted})
    assert answer.status_code == 302 and answer["Location"] == "/"


def test_a_dataset_name_keeps_only_what_can_be_seen(ada: Person) -> None:
    file = things.made_file(ada)
    for given in ("a\x00b", "\x00"):
        answer = ada.browser.post(f"{ada.workspace}/files/{file.public_id}/dataset", {"name": given})
        assert answer.status_code in (302, 422)
    with tenant_scope(ada.tenant.id):
        names = set(Dataset.objects.values_list("name", flat=True))
    assert names <= {"ab", file.filename}


@pytest.mark.parametrize("size", [HUGE, "-1", "x", "\u0661" * 400])
def test_a_batch_size_nobody_could_mean_is_left_out_of_the_wizard(ada: Person, size: str) -> None:
    job = things.made_job(ada)
    answer = ada.browser.get(f"{ada.workspace}/jobs/new", {"from": job.public_id, "batch_size": size})
    assert answer.status_code == 200


@pytest.mark.parametrize("version", [HUGE, "9" * 20, "0", "x", "\x00"])
def test_a_version_that_cannot_be_is_not_found(ada: Person, version: str) -> None:
    model = things.made_model(ada).model
    answer = ada.browser.get(f"{ada.workspace}/models/{model.public_id}/", {"version": version})
    assert answer.status_code == 404

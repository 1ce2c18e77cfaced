"""Where an artefact's files lie, for the engine: a folder, or addresses an object store signed."""

from urllib.parse import parse_qs, urlsplit

import pytest
from storages.backends.s3 import S3Storage

from kit import storage
from registry import selectors
from tenants.scope import tenant_scope
from tests.conftest import Cast
from tests.registry.making import make_model


def test_an_object_store_signs_an_address_of_each_file_for_a_few_minutes(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = make_model(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        place = selectors.artefact_place(version)
    bucket = S3Storage(
        bucket_name="models",
        endpoint_url="http://store:9000",
        access_key="a",
        secret_key="b",
        querystring_expire=300,
    )
    monkeypatch.setattr(storage, "default_storage", bucket)
    source = place.source()
    assert set(source) == {"urls"}
    assert set(source["urls"]) == set(version.files)
    parts = urlsplit(source["urls"]["artefact.json"])
    assert (f"{parts.scheme}://{parts.netloc}", parts.path) == (
        "http://store:9000",
        f"/models/{version.artefact_prefix}/artefact.json",
    )
    assert {"Signature", "Expires"} <= set(parse_qs(parts.query)) or "X-Amz-Signature" in parse_qs(parts.query)

"""A model that sentence-transformers saved answers at `/v1/embeddings` as it does there, at the sizes it names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openai
import pytest

from tests.gateway.conftest import GatewayProcess
from tests.registry.sentences import saved
from tests.registry.test_importing import imported
from tests.serving.heads import roomy
from tests.serving.made import TEXTS, deployed

pytestmark = pytest.mark.slow  # real processes


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_an_imported_model_answers_as_its_own_library(gateway: GatewayProcess, tmp_path: Path, pooling: str) -> None:
    from sentence_transformers import SentenceTransformer

    person = roomy("ada")
    folder = saved(tmp_path / "theirs", pooling, matryoshka_dimensions=[128, 64])
    version = imported(person, folder, "--suffix", "search")
    row = deployed(person, version)
    assert row.state == "live", row.reason
    assert row.parity["passed"] and row.parity["worst"] < 1e-3
    client, library = gateway.client(person), SentenceTransformer(str(folder), device="cpu")
    for size in (None, 384, 128, 64):
        more = {} if size is None else {"dimensions": size}
        found = client.embeddings.create(model=version.model.name, input=TEXTS, **more)  # type: ignore[arg-type]
        expected = library.encode(TEXTS, truncate_dim=size, normalize_embeddings=True)
        np.testing.assert_allclose([one.embedding for one in found.data], expected, atol=2e-3)
    with pytest.raises(openai.BadRequestError, match="vectors of 64, 128, 384 numbers") as refused:
        client.embeddings.create(model=version.model.name, input="x", dimensions=100)
    assert refused.value.param == "dimensions"


def test_any_size_is_cut_where_the_folder_names_none(gateway: GatewayProcess, tmp_path: Path) -> None:
    person = roomy("ada")
    version = imported(person, saved(tmp_path / "theirs"), "--suffix", "search")
    assert deployed(person, version).state == "live"
    found = gateway.client(person).embeddings.create(model=version.model.name, input="x", dimensions=100)
    assert len(found.data[0].embedding) == 100

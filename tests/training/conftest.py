"""The Celery application, so that doorbells ring somewhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import config.celery  # noqa: F401 - configures the application
from registry.bases import catalogue
from tests.training.lab.causal_bases import CHATML, tiny_llama
from tests.training.writing import BASE, list_bases


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a chat template, made once."""
    return tiny_llama(tmp_path_factory.mktemp("bases") / BASE, template=CHATML)


@pytest.fixture
def writing_base(llama_folder: Path, tmp_path: Path, settings: Any) -> Iterator[str]:
    """The name of a base for text-generation, beside those that come with the installation."""
    list_bases(tmp_path, settings, {BASE: {"folder": str(llama_folder), "max_length": 256}})
    yield BASE
    catalogue.cache_clear()

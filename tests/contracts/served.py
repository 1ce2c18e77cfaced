"""The product in one process, with a base that writes: `uvicorn tests.contracts.served:application`."""

from pathlib import Path

from config.asgi import application  # sets Django up
from registry.bases import Base, catalogue
from tests.gateway.writing_engine import CONTEXT, WRITER

catalogue()[WRITER] = Base(
    WRITER, Path("/nonexistent"), CONTEXT, {"model.safetensors": "0" * 64}, tasks=("text-generation",)
)

__all__ = ["application"]

"""The product in one process, with a base that writes: `uvicorn tests.contracts.served:application`."""

from config.asgi import application  # sets Django up
from registry.bases import catalogue
from tests.gateway.writing_engine import WRITER, WRITES

catalogue()[WRITER] = WRITES

__all__ = ["application"]

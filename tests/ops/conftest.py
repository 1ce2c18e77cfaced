"""The browser and the running server, as the console's tests have them."""

from tests.console.conftest import chromium, site

__all__ = ["chromium", "site"]

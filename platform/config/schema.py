"""Hooks that shape the OpenAPI document."""

from typing import Any

from gateway.schema import PATHS


def only_public_api(endpoints: list[Any]) -> list[Any]:
    """Keep what stands under /v1."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith("/v1/")]


def add_gateway_paths(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """The gateway is no Django view, so its room describes its paths itself."""
    result["paths"].update(PATHS)
    return result

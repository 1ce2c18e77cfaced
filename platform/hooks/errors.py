"""What this room refuses."""

from kit.errors import BadRequest, Conflict, RateLimited, Unprocessable


class AddressRefused(BadRequest):
    """An address we send nothing to: not https, or not a public one."""

    default_code = "url_refused"

    def __init__(self, message: str) -> None:
        super().__init__(message, param="url")


class EndpointsFull(Conflict):
    """The project has as many endpoints as it may."""

    default_code = "webhook_endpoint_limit_exceeded"


class EndpointDisabled(Conflict):
    """Nothing is sent to a disabled endpoint but tests."""

    default_code = "webhook_endpoint_disabled"


class TriedTooSoon(RateLimited):
    """Tests reach a server that may not be the caller's own: one every few seconds."""


class NoAnswer(Unprocessable):
    """The endpoint of a test gave no HTTP answer; the message says why."""

    default_code = "webhook_endpoint_unreachable"

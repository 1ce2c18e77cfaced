"""One family of errors, one file. Each class fixes the HTTP status and the wire's `type` and `code`.

The message stands alone: what happened, which limit, what to do. The body follows the OpenAI wire: four keys, always.
"""

from collections.abc import Iterable
from typing import Any, ClassVar


class ApiError(Exception):
    """Base of every error a client may see."""

    status: ClassVar[int] = 400
    type: ClassVar[str] = "invalid_request_error"
    default_code: ClassVar[str | None] = None
    should_retry: ClassVar[bool | None] = None
    """Sent as `x-should-retry`, which the official client obeys; None leaves the client to its own rule."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code if code is not None else self.default_code
        self.param = param
        self.headers = dict(headers or {})
        if self.should_retry is not None:
            self.headers.setdefault("x-should-retry", "true" if self.should_retry else "false")

    def body(self) -> dict[str, Any]:
        """The JSON body: {"error": {message, type, param, code}}."""
        return {
            "error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code},
        }


class BadRequest(ApiError):
    """The input is wrong; the same request can never succeed."""


class Unauthenticated(ApiError):
    """No key, or one that is wrong, expired or revoked."""

    status = 401
    type = "authentication_error"
    default_code = "invalid_api_key"

    def __init__(self, message: str, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.headers.setdefault("WWW-Authenticate", "Bearer")


class PaymentRequired(ApiError):
    """A budget, a spend cap or a plan does not cover this."""

    status = 402
    type = "insufficient_quota"
    default_code = "budget_exceeded"
    should_retry = False


class PermissionDenied(ApiError):
    """The caller is known but may not do this."""

    status = 403
    type = "permission_error"
    default_code = "insufficient_permissions"


class NotFound(ApiError):
    """Nothing here for this caller; the same words whether it never existed or belongs to somebody else."""

    status = 404
    default_code = "not_found"

    @classmethod
    def of(cls, identifier: object, *, param: str | None = None) -> "NotFound":
        """The one wording for an unknown id."""
        return cls(
            f"No such object: '{str(identifier)[:100]}'. Check the id, and the project your key is for.", param=param
        )


class Conflict(ApiError):
    """The object's state does not allow this; trying again changes nothing."""

    status = 409
    type = "conflict"
    default_code = "conflict"
    should_retry = False


class PayloadTooLarge(ApiError):
    """More bytes than the limit the message names."""

    status = 413
    default_code = "payload_too_large"


class UnsupportedMediaType(ApiError):
    """The body's type is not one this route reads."""

    status = 415
    default_code = "unsupported_media_type"


class Unprocessable(ApiError):
    """Well-formed, but it cannot be acted on (a file without usable rows, a key reused with another body)."""

    status = 422
    default_code = "unprocessable"


class RateLimited(ApiError):
    """Too many at once or per minute; waiting helps."""

    status = 429
    type = "requests"
    default_code = "rate_limit_exceeded"


class MethodNotAllowed(ApiError):
    """The path is right, the verb is not."""

    status = 405
    default_code = "method_not_allowed"

    def __init__(self, method: str, allowed: Iterable[str]) -> None:
        names = ", ".join(allowed)
        super().__init__(f"This path does not take {method[:20]}. It takes {names}.", headers={"Allow": names})


class Unavailable(ApiError):
    """Our fault or our load; waiting helps."""

    status = 503
    type = "server_error"
    default_code = "server_is_overloaded"

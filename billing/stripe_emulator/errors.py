"""Errors in Stripe's own shape."""

from __future__ import annotations

from typing import Any


class StripeError(Exception):
    """An error the API answers with: HTTP status and the `error` body."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.type = type
        self.code = code
        self.param = param
        self.extra = extra
        # A refused card is a fact: what it changed stays. Other errors leave nothing behind.
        self.keep = status == 402

    def body(self) -> dict[str, Any]:
        """The JSON body, keys in Stripe's order, absent ones left out."""
        error: dict[str, Any] = {"message": self.message, "type": self.type}
        if self.code:
            error["code"] = self.code
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{self.code.replace('_', '-')}"
        if self.param:
            error["param"] = self.param
        error.update({key: value for key, value in self.extra.items() if value is not None})
        return {"error": error}


def missing(param: str) -> StripeError:
    """A required parameter is not there."""
    return StripeError(f"Missing required param: {param}.", code="parameter_missing", param=param)


def no_such(kind: str, object_id: str, param: str = "id", status: int = 404) -> StripeError:
    """An id that names nothing. In the path it is a 404, in the body Stripe answers 400."""
    return StripeError(f"No such {kind}: '{object_id}'", status=status, code="resource_missing", param=param)


def card_error(message: str, *, code: str, decline_code: str | None, **extra: Any) -> StripeError:
    """A card was refused: HTTP 402."""
    return StripeError(message, status=402, type="card_error", code=code, decline_code=decline_code, **extra)


def wrong_state(message: str, *, code: str | None = None, param: str | None = None) -> StripeError:
    """The object cannot make this move from the state it is in."""
    return StripeError(message, code=code, param=param)

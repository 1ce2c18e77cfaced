"""The room's errors."""

from billing.quotas import Denial
from kit.errors import ApiError, BadRequest, Conflict, NotFound, PaymentRequired, Unavailable, Unprocessable
from kit.money import price


class BudgetExceeded(PaymentRequired):
    """A spend limit does not cover this."""


class CallRefused(ApiError):
    """A limit or a budget said no to a call; the quota room chose status, words and headers."""

    def __init__(self, denial: Denial) -> None:
        headers = {name.decode(): value.decode() for name, value in denial.headers}
        super().__init__(denial.message, code=denial.code, headers=headers)
        self.status = denial.status  # type: ignore[misc]
        self.type = denial.type  # type: ignore[misc]


class PeriodOpen(Conflict):
    """The month has not ended."""


class LedgerError(Exception):
    """A transaction that does not balance: a bug of ours, stopped before it reaches the ledger."""


class PaymentsClosed(Unavailable):
    """No Stripe key is set."""

    default_code = "payments_not_configured"

    def __init__(self) -> None:
        super().__init__("Payments are not set up on this installation. Set STRIPE_SECRET_KEY to open them.")


class PaymentsAway(Unavailable):
    """Stripe does not answer, or not in time."""

    default_code = "payments_unavailable"

    def __init__(self) -> None:
        super().__init__("The payment provider does not answer. Nothing was charged or changed; try again in a minute.")


class CardRefused(PaymentRequired):
    """The bank said no. The tenant stays on the plan it had."""

    type = "card_error"
    default_code = "card_declined"


class PaymentOverdue(PaymentRequired):
    """An invoice has been overdue for too long for this."""

    default_code = "payment_overdue"

    def __init__(self, message: str) -> None:
        super().__init__(f"{message} Pay it under Billing; that lifts this at once.")


class MoreThanPaid(Conflict):
    """More is to be taken back than there is."""

    default_code = "more_than_paid"

    def __init__(self, most_cents: int, currency: str) -> None:
        most = price(most_cents, currency)
        super().__init__(f"At most {most} of this invoice can be taken back.", param="amount")


class StripeRefused(Unprocessable):
    """Stripe does not take the request as it is."""

    default_code = "payment_request_refused"


class PromotionRefused(StripeRefused):
    """A promotion code that cannot be used for this."""

    default_code = "promotion_code_refused"


class StripeKnown(StripeRefused):
    """Stripe has this usage already: it was sent before."""


class StripeMissing(NotFound):
    """Stripe knows no such object (any more)."""


class SignatureWrong(BadRequest):
    """A webhook that Stripe did not sign with our secret, or signed too long ago."""

    default_code = "invalid_signature"


class PlanUnknown(BadRequest):
    """A plan nobody sells."""

    default_code = "plan_unknown"


class PlanNotSold(Conflict):
    """A plan that cannot be bought online, or is the one the tenant has."""

    default_code = "plan_not_available"


class ChangePending(Conflict):
    """A change that was asked for before is not answered yet."""

    default_code = "change_pending"

    def __init__(self) -> None:
        super().__init__("A change of the plan is on its way to the payment provider. Wait until it is done.")


class SubscriptionMissing(Conflict):
    """An act on a subscription the tenant does not have."""

    default_code = "no_subscription"

"""What this room refuses."""

from kit.errors import BadRequest, Conflict, NotFound


class StepRefused(Conflict):
    """The order's state does not allow this step."""

    default_code = "order_state"


class AmountRefused(BadRequest):
    """An amount, a quantity or a share that a quote cannot hold."""

    default_code = "invalid_amount"


class ApprovalNeeded(Conflict):
    """The discount is beyond what one person may give."""

    default_code = "approval_needed"


class QuoteRefused(Conflict):
    """The quote's state does not allow this."""

    default_code = "quote_state"


class LinkGone(NotFound):
    """The one answer for a link that is forged, foreign, used, withdrawn or expired."""

    default_code = "not_found"

    def __init__(self) -> None:
        super().__init__(
            "This link leads to no quote that can be accepted. It may have been used, withdrawn, or expired."
        )


class TooManyOrders(Conflict):
    """As many orders are open as an organisation may have."""

    default_code = "order_limit_exceeded"

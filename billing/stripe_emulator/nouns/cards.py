"""The test cards: which number is taken, which is refused, and with what words.

A number is looked up once and forgotten: an object keeps brand, last four
digits and behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass

from billing.stripe_emulator.errors import StripeError, card_error

REFUSALS: dict[str, tuple[str, str]] = {
    "generic_decline": ("card_declined", "Your card was declined."),
    "insufficient_funds": ("card_declined", "Your card has insufficient funds."),
    "lost_card": ("card_declined", "Your card was declined."),
    "stolen_card": ("card_declined", "Your card was declined."),
    "expired_card": ("expired_card", "Your card has expired."),
    "incorrect_cvc": ("incorrect_cvc", "Your card's security code is incorrect."),
    "processing_error": (
        "processing_error",
        "An error occurred while processing your card. Try again in a little bit.",
    ),
    "authentication_required": (
        "authentication_required",
        "Your card was declined. This transaction requires authentication.",
    ),
}
# When a card wants its owner to say that it is he (3-D Secure).
ALWAYS, WITH_OWNER, UNTIL_SET_UP = "always", "with_owner", "until_set_up"


@dataclass(frozen=True)
class TestCard:
    """One documented test number. `refuses` names the refusal; `later` means that it is
    taken when saved and refused when charged; `asks` says when it wants authentication;
    `disputes` is the reason why its charges are taken back at once."""

    number: str
    brand: str = "visa"
    refuses: str | None = None
    later: bool = False
    asks: str | None = None
    disputes: str | None = None


CARDS = {
    card.number: card
    for card in (
        TestCard("4242424242424242"),
        TestCard("4000056655665556"),
        TestCard("5555555555554444", "mastercard"),
        TestCard("2223003122003222", "mastercard"),
        TestCard("378282246310005", "amex"),
        TestCard("6011111111111117", "discover"),
        TestCard("4000000000000002", refuses="generic_decline"),
        TestCard("4000000000009995", refuses="insufficient_funds"),
        TestCard("4000000000009987", refuses="lost_card"),
        TestCard("4000000000009979", refuses="stolen_card"),
        TestCard("4000000000000069", refuses="expired_card"),
        TestCard("4000000000000127", refuses="incorrect_cvc"),
        TestCard("4000000000000119", refuses="processing_error"),
        TestCard("4000000000000341", refuses="generic_decline", later=True),
        TestCard("4000000000000259", disputes="fraudulent"),
        TestCard("4000000000002685", disputes="product_not_received"),
        TestCard("4000000000003055"),
        TestCard("4000000000003220", asks=ALWAYS),
        TestCard("4000002760003184", asks=ALWAYS),
        TestCard("4000002500003155", asks=UNTIL_SET_UP),
        TestCard("4000003800000446", asks=WITH_OWNER),
        TestCard("4000008260003178", refuses="insufficient_funds", later=True, asks=ALWAYS),
        TestCard("4000008400001629", refuses="generic_decline", later=True, asks=ALWAYS),
    )
}

# Names the API takes in place of a payment method or a token.
NAMED = {
    "visa": "4242424242424242",
    "visa_debit": "4000056655665556",
    "mastercard": "5555555555554444",
    "amex": "378282246310005",
    "discover": "6011111111111117",
    "chargeDeclined": "4000000000000002",
    "visa_chargeDeclined": "4000000000000002",
    "chargeDeclinedInsufficientFunds": "4000000000009995",
    "visa_chargeDeclinedInsufficientFunds": "4000000000009995",
    "chargeDeclinedExpiredCard": "4000000000000069",
    "chargeDeclinedIncorrectCvc": "4000000000000127",
    "chargeDeclinedProcessingError": "4000000000000119",
    "chargeCustomerFail": "4000000000000341",
    "createDispute": "4000000000000259",
    "createDisputeProductNotReceived": "4000000000002685",
    "threeDSecureOptional": "4000000000003055",
    "threeDSecure2Required": "4000000000003220",
    "threeDSecureRequiredChargeDeclined": "4000008400001629",
    "authenticationRequired": "4000002760003184",
    "authenticationRequiredOnSetup": "4000002500003155",
    "authenticationRequiredSetupForOffSession": "4000003800000446",
    "authenticationRequiredChargeDeclinedInsufficientFunds": "4000008260003178",
}


def card_of(number: str) -> TestCard:
    """The test card of a number as typed; raises the refusal Stripe gives in test mode."""
    digits = number.replace(" ", "").replace("-", "")
    if not digits.isascii() or not digits.isdigit() or not 12 <= len(digits) <= 19 or not _luhn(digits):
        raise card_error("Your card number is incorrect.", code="incorrect_number", decline_code=None, param="number")
    if digits not in CARDS:
        raise card_error(
            "Your card was declined. Your request was in test mode, but used a non test card. Use one of the listed "
            "test cards.",
            code="card_declined",
            decline_code="test_mode_live_card",
            param="number",
        )
    return CARDS[digits]


def _luhn(digits: str) -> bool:
    total = 0
    for index, char in enumerate(reversed(digits)):
        value = int(char) * (1 + index % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def refusal(name: str, **extra: object) -> StripeError:
    """The card error of a refusal's name."""
    code, message = REFUSALS[name]
    said = name if code in ("card_declined", "authentication_required") else None
    return card_error(message, code=code, decline_code=said, **extra)

"""Personal data in text: find and mask e-mail addresses, phone numbers, payment cards and IBANs.

Cards count only with a valid Luhn digit and IBANs with a valid mod-97, so order numbers do not raise alarms. Names and
postal addresses are not recognised: that needs a language model and is not promised here.
"""

from __future__ import annotations

import re

EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
CARD = re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-])")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
PHONE = re.compile(r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?|\(0?\d{1,4}\)[ .-]?|0)\d{1,4}(?:[ .-]?\d{2,4}){2,4}(?![\w-])")
DIGIT = re.compile(r"\d")


def luhn_valid(number: str) -> bool:
    """Tell whether the digits of `number` pass the Luhn check used by payment cards."""
    digits = [int(char) for char in number if char.isdigit()]
    doubled = [2 * digit - 9 if digit > 4 else 2 * digit for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def iban_valid(number: str) -> bool:
    """Tell whether `number` passes the IBAN mod-97 check."""
    compact = number.replace(" ", "").upper()
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(char, 36)) for char in compact[4:] + compact[:4])) % 97 == 1


def _is_card(found: str) -> bool:
    return len(set(found)) > 2 and luhn_valid(found)


def kinds(text: str) -> set[str]:
    """Return which of `email`, `card`, `iban`, `phone` occur in `text`."""
    found: set[str] = set()
    if "@" in text and EMAIL.search(text):
        found.add("email")
    if len(DIGIT.findall(text)) < 8:
        return found
    if any(_is_card(match.group()) for match in CARD.finditer(text)):
        found.add("card")
    if any(iban_valid(match.group()) for match in IBAN.finditer(text)):
        found.add("iban")
    if any(_is_phone(match.group()) for match in PHONE.finditer(text)):
        found.add("phone")
    return found


def _is_phone(found: str) -> bool:
    return 9 <= len(DIGIT.findall(found)) <= 15


def mask(text: str) -> str:
    """Replace personal data in `text` by its kind in square brackets."""
    if "@" in text:
        text = EMAIL.sub("[email]", text)
    if len(DIGIT.findall(text)) < 8:
        return text
    text = CARD.sub(lambda match: "[card]" if _is_card(match.group()) else match.group(), text)
    text = IBAN.sub(lambda match: "[iban]" if iban_valid(match.group()) else match.group(), text)
    return PHONE.sub(lambda match: "[phone]" if _is_phone(match.group()) else match.group(), text)

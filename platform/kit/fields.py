"""Fields that take exactly what they say: no "3" for 3, no 1 for true, no control characters in names."""

import math
import unicodedata
from collections.abc import Iterable
from typing import Any

from drf_spectacular.drainage import set_override
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from kit.money import NANO, parse_amount

AUTO = "auto"


def _say(field: Any, schema: dict[str, Any], *, auto: bool = False) -> None:
    """What the OpenAPI document says of one field, with the field's own bounds."""
    word = {"type": "string", "enum": [AUTO]}
    set_override(field, "field", {"oneOf": [schema, word], "example": AUTO} if auto else schema)


class Whole(serializers.Field[int, Any, int, Any]):
    """A JSON integer within [low, high]; a number such as 3.0 or "3" is refused."""

    def __init__(self, *, low: int, high: int, auto: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.low, self.high, self.auto = low, high, auto
        _say(self, {"type": "integer", "minimum": low, "maximum": high}, auto=auto)

    def to_internal_value(self, data: Any) -> Any:
        """The integer, or "auto" where that is allowed."""
        if self.auto and data == AUTO:
            return AUTO
        if isinstance(data, bool) or not isinstance(data, int) or not self.low <= data <= self.high:
            choice = '"auto" or ' if self.auto else ""
            raise serializers.ValidationError(f"Must be {choice}a whole number from {self.low} to {self.high}.")
        return data

    def to_representation(self, value: Any) -> Any:
        """As it is."""
        return value


class Number(serializers.Field[float, Any, float, Any]):
    """A finite JSON number above `above` (or from `low`), up to `high`."""

    def __init__(
        self, *, high: float, above: float | None = None, low: float = 0, auto: bool = False, **options: Any
    ) -> None:
        super().__init__(**options)
        self.above, self.low, self.high, self.auto = above, low, high, auto
        least = {"minimum": low} if above is None else {"minimum": above, "exclusiveMinimum": True}
        _say(self, {"type": "number", **least, "maximum": high}, auto=auto)

    def to_internal_value(self, data: Any) -> Any:
        """The number, or "auto" where that is allowed."""
        if self.auto and data == AUTO:
            return AUTO
        good = isinstance(data, (int, float)) and not isinstance(data, bool) and math.isfinite(data)
        inside = good and data <= self.high and (data >= self.low if self.above is None else data > self.above)
        if not inside:
            choice = '"auto" or ' if self.auto else ""
            least = f"from {self.low:g} to" if self.above is None else f"above {self.above:g}, up to"
            raise serializers.ValidationError(f"Must be {choice}a number {least} {self.high:g}.")
        return float(data)

    def to_representation(self, value: Any) -> Any:
        """As it is."""
        return value


@extend_schema_field({"type": "number", "minimum": 0, "exclusiveMinimum": True})
class Dollars(serializers.Field[int, Any, float, Any]):
    """A price in the organisation's currency as a JSON number; inside it is integer nano."""

    def to_internal_value(self, data: Any) -> int:
        """Nano."""
        try:
            if isinstance(data, str):
                raise ValueError("not a number")
            nano = parse_amount(data)
        except ValueError as error:
            raise serializers.ValidationError("Must be an amount as a number, above 0 and up to a billion.") from error
        if nano <= 0:
            raise serializers.ValidationError("Must be above 0.")
        return nano

    def to_representation(self, value: int) -> float:
        """The number."""
        return value / NANO


@extend_schema_field({"type": "boolean"})
class Truth(serializers.Field[bool, Any, bool, Any]):
    """true or false, nothing else."""

    def to_internal_value(self, data: Any) -> bool:
        """The boolean."""
        if not isinstance(data, bool):
            raise serializers.ValidationError("Must be true or false.")
        return data

    def to_representation(self, value: bool) -> bool:
        """As it is."""
        return value


class Text(serializers.Field[str, Any, str, Any]):
    """A JSON string without control characters, in composed form, of at most `longest` characters."""

    def __init__(self, *, longest: int, empty: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.longest, self.empty = longest, empty
        _say(self, {"type": "string", "minLength": 0 if empty else 1, "maxLength": longest})

    def to_internal_value(self, data: Any) -> str:
        """The text."""
        if not isinstance(data, str):
            raise serializers.ValidationError("Must be a string.")
        if len(data) > self.longest or (not data and not self.empty):
            low = 0 if self.empty else 1
            raise serializers.ValidationError(f"Must have {low} to {self.longest} characters; it has {len(data)}.")
        if any(unicodedata.category(character) in {"Cc", "Cs"} for character in data):
            raise serializers.ValidationError("Must not contain control characters.")
        return unicodedata.normalize("NFC", data)

    def to_representation(self, value: str) -> str:
        """As it is."""
        return value


class OneOf(Text):
    """One of a few words."""

    def __init__(self, words: Iterable[str], **options: Any) -> None:
        self.words = tuple(words)
        super().__init__(longest=max(map(len, self.words)), **options)
        _say(self, {"type": "string", "enum": list(self.words)})

    def to_internal_value(self, data: Any) -> str:
        """The word."""
        if not isinstance(data, str):
            raise serializers.ValidationError("Must be a string.")
        if data not in self.words:
            raise serializers.ValidationError(f"Must be one of {', '.join(self.words)}.")
        return data


class Items(serializers.ListField):
    """A JSON list of `least` to `most` things."""

    def __init__(self, *, most: int, least: int = 0, **options: Any) -> None:
        words = f"Must be a list of {least} to {most:,} items."
        messages: dict[str, Any] = dict.fromkeys(("not_a_list", "empty", "min_length", "max_length"), words)
        super().__init__(min_length=least, max_length=most, error_messages=messages, **options)


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 16})
class Metadata(serializers.Field[dict[str, str], Any, dict[str, str], Any]):
    """Up to 16 pairs of strings: keys to 64 characters, values to 512."""

    def to_internal_value(self, data: Any) -> dict[str, str]:
        """The pairs."""
        if not isinstance(data, dict) or len(data) > 16:
            raise serializers.ValidationError("Must be an object of at most 16 pairs.")
        for key, value in data.items():
            if not 1 <= len(key) <= 64 or "\x00" in key:
                raise serializers.ValidationError("Each key must have 1 to 64 characters.")
            if not isinstance(value, str) or len(value) > 512 or "\x00" in value:
                raise serializers.ValidationError(f"The value of '{key}' must be a string of at most 512 characters.")
        return dict(data)

    def to_representation(self, value: dict[str, str]) -> dict[str, str]:
        """As it is."""
        return value

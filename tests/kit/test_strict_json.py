"""The API's JSON reader refuses what cannot be meant."""

import pytest

from kit import strict_json
from kit.errors import BadRequest


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\ud800": 1, "\\ud800": 2}', "surrogate"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b"[" * 100_000, "nested deeper"),
        (b"[" * 70 + b"]" * 70, "nested deeper"),
        (b"[" * 64 + b"1" + b"]" * 64, "nested deeper"),
        (b"[" * 64 + b'"\\u0061"' + b"]" * 64, "nested deeper"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b"{'a': 1}", "not JSON"),
    ],
)
def test_bad_documents_get_a_reason(raw: bytes, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        strict_json.loads(raw)


@pytest.mark.parametrize("one", [b"{}", b"[]", b"1", b'{"a":1}'])
def test_megabytes_of_brackets_are_given_up_soon(one: bytes) -> None:
    raw = b'{"a":[' + b",".join([one] * ((8 << 20) // (len(one) + 1))) + b"]}"
    with pytest.raises(BadRequest, match="600,000 values"):
        strict_json.loads(raw)


def test_who_reads_large_documents_may_say_so() -> None:
    assert len(strict_json.loads(b"[" + b"1," * 700_000 + b"1]", most=10**6)) == 700_001


def test_a_good_document_comes_through_whole() -> None:
    assert strict_json.loads('{"a": [1, 2.5, "é", null, true]}'.encode()) == {"a": [1, 2.5, "é", None, True]}

"""What can go wrong between us and the quota server. Denials are answers, not errors: see `decision`."""

from __future__ import annotations


class QuotaUnavailable(Exception):
    """The quota server did not answer in time, or not at all. Whether the call took effect is unknown."""


class QuotaProtocolError(Exception):
    """The quota server answered with an error of its own: a fault of ours, never the caller's."""


class LimitError(ValueError):
    """A limit that cannot be enforced exactly, such as a cap beyond integer precision."""

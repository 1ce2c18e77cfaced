"""The steps of the tour, family by family. The order of the imports is the order in which they are taken."""

# ruff: noqa: I001
from benchmarks.stripe_steps import catalogue  # noqa: F401
from benchmarks.stripe_steps import people  # noqa: F401
from benchmarks.stripe_steps import selling  # noqa: F401
from benchmarks.stripe_steps import subscribing  # noqa: F401
from benchmarks.stripe_steps import invoicing  # noqa: F401
from benchmarks.stripe_steps import metering  # noqa: F401
from benchmarks.stripe_steps import timing  # noqa: F401
from benchmarks.stripe_steps.step import STEPS

__all__ = ["STEPS"]

"""Prometheus metrics of this process, and the text a scrape reads."""

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest

__all__ = ["CONTENT_TYPE", "SECONDS", "Counter", "Gauge", "Histogram", "scrape"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Buckets for request durations, in seconds."""


def scrape() -> bytes:
    """All metrics in the text format."""
    return generate_latest(REGISTRY)

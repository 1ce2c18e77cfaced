"""No line of a log has what opens a link, whichever logger writes it and however the path comes into it."""

import io
import json
import logging
import logging.config
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import signing
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from config.log_lines import SECRET_AFTER, log_lines

SECRET = "s3cr3tW0rd-of_this.link"
LINKS = (
    f"/quotes/{SECRET}",
    f"/quotes/{SECRET}/document",
    f"/invitations/{SECRET}",
    f"/mail/unsubscribe/{SECRET}",
    f"/account/password/reset/key/1-{SECRET}/",
    f"/account/confirm-email/{SECRET}:1abc:{SECRET}/",
)


@pytest.fixture(params=["json", "text"])
def lines(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What is written from DEBUG on, as the settings would have it written."""
    out = io.StringIO()
    made = logging.config.DictConfigurator(log_lines(request.param, "DEBUG", quiet=False))
    handler = logging.StreamHandler(out)
    handler.setFormatter(made.configure_formatter(made.config["formatters"][request.param]))
    loggers = [logging.getLogger(name) for name in ("", "django", "django.request", "kit.access", "config.refusals")]
    before = [(one, one.level, one.propagate) for one in loggers]
    for one in loggers:
        one.setLevel(logging.DEBUG)
        one.propagate = True
    loggers[0].addHandler(handler)
    yield out
    loggers[0].removeHandler(handler)
    for one, level, propagate in before:
        one.setLevel(level)
        one.propagate = propagate


@pytest.mark.django_db
@pytest.mark.parametrize("link", LINKS)
def test_a_link_that_is_followed_leaves_no_secret(link: str, lines: io.StringIO) -> None:
    browser = Client(raise_request_exception=False, enforce_csrf_checks=True)
    browser.get(link)
    browser.post(link, {"name": "Ada"})  # refused, which Django says with the path and the request itself
    logging.getLogger("django.request").warning("Not Found: %s", link, extra={"request": [link, {"path": link}]})
    try:
        raise LookupError(f"nothing at https://example.com{link}?page=2")
    except LookupError:
        logging.getLogger("config.refusals").exception("unhandled error on %s", link)
    written = lines.getvalue()
    assert SECRET not in written
    assert link.split("/")[1] in written, "what was asked for is still told"


def test_what_signs_an_address_is_left_out_too(lines: io.StringIO) -> None:
    address = f"https://store/x.bin?X-Amz-Credential={SECRET}&X-Amz-Date=20261130&x-amz-signature={SECRET}&page=2"
    logging.getLogger("kit").warning("cannot read %s or /x?token=%s", address, signing.dumps(SECRET))
    written = lines.getvalue()
    assert SECRET not in written and "X-Amz-Date=20261130" in written and "page=2" in written
    assert written.count("…") == 3


def test_lines_of_json_stay_json(lines: io.StringIO) -> None:
    logging.getLogger("kit").warning('"/quotes/%s" and \\ and "quotes"', SECRET, extra={"path": f"/quotes/{SECRET}"})
    first = lines.getvalue().splitlines()[0]
    if first.startswith("{"):
        assert json.loads(first)["path"] == "/quotes/…" and json.loads(first)["message"].startswith('"/quotes/…"')


def routes(patterns: list[Any], prefix: str = "") -> Iterator[str]:
    for one in patterns:
        here = prefix + str(one.pattern).lstrip("^").rstrip("$")
        if isinstance(one, URLResolver):
            yield from routes(one.url_patterns, here)
        elif isinstance(one, URLPattern):
            yield here


def test_every_route_with_a_secret_in_its_path_is_known() -> None:
    secret = re.compile(r"<(?:\w+:)?(?:token|key|secret)\b|\(\?P<(?:token|key|secret)>")
    every = routes(get_resolver().url_patterns)
    found = [route for route in every if secret.search(route) and not route.startswith("o/")]  # ids of API keys
    missing = [route for route in found if not route.startswith(tuple(f"{place}/" for place in SECRET_AFTER))]
    assert len(found) >= len(SECRET_AFTER) and missing == []

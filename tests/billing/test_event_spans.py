"""Single events between any two moments: the sums of hours that name where they lie hide none of them."""

import csv
import datetime as dt
import io

from billing.services.metering import usage_rollup
from kit.clock import now, unix
from tests.billing.money import call, store_events
from tests.billing.test_billing_api import BASE, pages
from tests.conftest import Person, make_person

MINUTE = dt.timedelta(minutes=1)


def stored(person: Person, hour: dt.datetime, minutes: list[int]) -> None:
    """One event at each of these minutes after the hour, each summed in its hour; its name is its minute."""
    where = {"project_id": person.project.pk}
    store_events([call(person.tenant.id, n, cost=20, at=hour + n * MINUTE, **where) for n in minutes])
    usage_rollup(tenant_id=person.tenant.id)


def shown(person: Person, start: dt.datetime, end: dt.datetime) -> list[str]:
    """Names of a span's events, the newest first: the same page by page, however small pages are, and in the file."""
    span = f"start_time={unix(start)}&end_time={unix(end)}"
    by_limit = [[one["request_id"] for one in pages(person, f"{BASE}/events?{span}", limit=n)] for n in (1, 2, 100)]
    answer = person.api.get(f"{BASE}/events/csv?{span}")
    text = b"".join(answer.streaming_content).decode()
    assert [[line["request_id"] for line in csv.DictReader(io.StringIO(text))]] * 3 == by_limit
    return by_limit[0]


def test_a_span_holds_its_events_wherever_in_an_hour_its_ends_are() -> None:
    ada = make_person("ada")
    hour = now().replace(minute=0, second=0, microsecond=0) - dt.timedelta(days=2)
    # Two quiet hours, then one in which more happened than a page holds.
    minutes = [5, 20, 40, 70, *range(130, 170, 5)]
    stored(ada, hour, minutes)
    for first, last in ((10, 50), (10, 11), (0, 136), (20, 131), (61, 170), (0, 120), (60, 180), (0, 240)):
        expected = [f"req_{n}" for n in reversed(minutes) if first <= n < last]
        assert shown(ada, hour + first * MINUTE, hour + last * MINUTE) == expected, (first, last)

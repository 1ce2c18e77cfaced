"""The write-ahead file: nothing written is lost, nothing half-written is believed, doubles do no harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.metering.events import UsageEvent, decode, encode, event_id
from billing.metering.shipper import PoisonEvent, Shipper
from billing.metering.spool import SpoolError, SpoolWriter, read_events

TENANT = uuid.uuid4()


def event(number: int, tenant: uuid.UUID = TENANT) -> UsageEvent:
    request = f"req_{number}"
    return UsageEvent(
        event_id=event_id(tenant, request, "classify"),
        request_id=request,
        tenant_id=tenant,
        project_id=TENANT,
        key_id=None,
        model="ft:b:o:süß:1",
        kind="classify",
        input_tokens=number,
        output_tokens=0,
        requests=1,
        gpu_ms=2,
        price_version="v",
        cost_nano=20 * number,
        occurred_at=1_790_000_000_000 + number,
    )


class Store:
    """A sink that keeps each event once, and can be down or picky."""

    def __init__(self) -> None:
        self.rows: dict[uuid.UUID, UsageEvent] = {}
        self.down = False
        self.poison: set[uuid.UUID] = set()

    def __call__(self, events: Sequence[UsageEvent]) -> None:
        if self.down:
            raise ConnectionError("the database is away")
        if any(e.event_id in self.poison for e in events):
            raise PoisonEvent("no")
        self.rows.update({e.event_id: e for e in events})


@given(st.integers(0, 2**53), st.text(max_size=40), st.one_of(st.none(), st.uuids()))
def test_an_event_reads_back_as_it_was_written(tokens: int, model: str, key: uuid.UUID | None) -> None:
    written = UsageEvent(
        event_id=event_id(TENANT, model, "decisions"),
        request_id=model,
        tenant_id=TENANT,
        project_id=TENANT,
        key_id=key,
        model=model,
        kind="decisions",
        input_tokens=tokens,
        output_tokens=1,
        requests=1,
        gpu_ms=0,
        price_version="v",
        cost_nano=tokens,
        occurred_at=tokens,
    )
    body = encode(written)
    assert decode(body) == written
    assert b"\n" not in body


def test_one_request_and_kind_have_one_identity() -> None:
    assert event_id(TENANT, "req_1", "classify") == event_id(TENANT, "req_1", "classify")
    assert event_id(TENANT, "req_1", "classify") != event_id(TENANT, "req_1", "decisions")


def test_a_running_writer_is_shipped_from_where_it_stopped(tmp_path: Path) -> None:
    writer, store = SpoolWriter(tmp_path), Store()
    shipper = Shipper(tmp_path, store, writer=writer)
    writer.append(event(1))
    assert shipper.ship() == 1
    assert shipper.ship() == 0
    writer.append(event(2))
    writer.append(event(3))
    assert shipper.ship() == 2
    assert len(store.rows) == 3
    writer.close()


def test_files_rotate_and_go_away_when_shipped(tmp_path: Path) -> None:
    writer, store = SpoolWriter(tmp_path, max_bytes=500), Store()
    shipper = Shipper(tmp_path, store, writer=writer)
    for number in range(20):
        writer.append(event(number))
        if number % 7 == 0:
            shipper.ship()
    shipper.ship()
    assert len(store.rows) == 20
    assert len(list(tmp_path.glob("*.wal"))) == 1
    writer.close()


def test_while_the_database_is_away_the_file_keeps_everything(tmp_path: Path) -> None:
    writer, store = SpoolWriter(tmp_path, max_bytes=500), Store()
    shipper = Shipper(tmp_path, store, writer=writer)
    store.down = True
    for number in range(10):
        writer.append(event(number))
        with pytest.raises(ConnectionError):
            shipper.ship()
    store.down = False
    shipper.ship()
    assert len(store.rows) == 10
    writer.close()


def test_an_event_the_database_can_never_take_does_not_stop_the_others(tmp_path: Path) -> None:
    writer, store = SpoolWriter(tmp_path), Store()
    store.poison.add(event(4).event_id)
    for number in range(9):
        writer.append(event(number))
    Shipper(tmp_path, store, writer=writer).ship()
    assert len(store.rows) == 8
    assert decode((tmp_path / "rejected.jsonl").read_bytes().strip()) == event(4)
    writer.close()


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_tail_is_not_believed_and_harms_nothing_before_it(tmp_path: Path, cut: int) -> None:
    writer = SpoolWriter(tmp_path)
    writer.append(event(1))
    writer.append(event(2))
    writer.close()
    os.truncate(writer.path, writer.path.stat().st_size - cut)
    assert [e.input_tokens for e, _ in read_events(writer.path)] == [1]


def test_a_flipped_bit_costs_one_event_and_not_the_file(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    for number in (1, 2, 3):
        writer.append(event(number))
    writer.close()
    data = bytearray(writer.path.read_bytes())
    middle = data.index(b"req_2")
    data[middle] ^= 1
    writer.path.write_bytes(data)
    assert [e.input_tokens for e, _ in read_events(writer.path)] == [1, 3]


def test_two_writers_of_one_folder_do_not_take_each_others_live_files(tmp_path: Path) -> None:
    first, second, store = SpoolWriter(tmp_path), SpoolWriter(tmp_path), Store()
    first.append(event(1))
    shipper = Shipper(tmp_path, store, writer=second)
    shipper.ship()
    assert store.rows == {}
    assert first.path.exists()
    first.close()
    shipper.ship()
    assert len(store.rows) == 1
    second.close()


def test_writing_after_close_is_an_error_not_a_silent_loss(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    writer.close()
    with pytest.raises(SpoolError):
        writer.append(event(1))


WRITER = """
    import sys, itertools
    from tests.billing.test_spool import event
    from billing.metering.spool import SpoolWriter
    writer = SpoolWriter(sys.argv[1])
    for number in itertools.count():
        writer.append(event(number))
        sys.stdout.write(f"{number}\\n"); sys.stdout.flush()
"""


@pytest.mark.slow
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert process.stdout is not None
    seen = [process.stdout.readline() for _ in range(200)]
    time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    seen += process.stdout.read().split(b"\n")
    process.wait()
    process.stdout.close()
    acknowledged = max(int(line) for line in seen if line.strip())
    store = Store()
    shipper = Shipper(tmp_path, store)
    shipper.ship()
    numbers = sorted(e.input_tokens for e in store.rows.values())
    assert numbers[: acknowledged + 1] == list(range(acknowledged + 1))
    assert len(numbers) <= acknowledged + 2
    assert list(tmp_path.glob("*.wal")) == []
    assert shipper.ship() == 0

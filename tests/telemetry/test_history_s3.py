"""History in a bucket, over HTTP to a server that speaks S3 (moto), and what happens when it is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs

from coldgrid.adapters.history_sql import HistorySql, report
from coldgrid.adapters.history_store import HistoryStore, address_of
from coldgrid.telemetry import history
from coldgrid.telemetry.history_files import path_of
from coldgrid.telemetry.history_proof import verify_file
from tests.conftest import Kernel, sqlite_kernel
from tests.ports import free_port
from tests.telemetry.cold_room import AIR, readings
from tests.telemetry.test_history import DAY, Duty
from tests.telemetry.test_seal import MIDNIGHT_MIN, a_day

KEY = "AKIDEXAMPLE:wJalrXUtnFEMI"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def bucket(endpoint: str, request: pytest.FixtureRequest) -> str:
    """The address of a history in a bucket of this test's own."""
    name = f"cold-{abs(hash(request.node.name))}"
    made = HistoryStore(address_of(f"s3://{name}/grid?endpoint={endpoint}&region=us-east-1"), KEY)
    fs.S3FileSystem(
        access_key="AKIDEXAMPLE",
        secret_key="wJalrXUtnFEMI",  # of the documentation
        endpoint_override=endpoint.removeprefix("http://"),
        scheme="http",
        region="us-east-1",
        allow_bucket_creation=True,
    ).create_dir(name)
    assert made.names("readings") == []
    return f"s3://{name}/grid?endpoint={endpoint}&region=us-east-1"


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with sqlite_kernel() as made:
        yield made


def duty_at(kernel: Kernel, address: str) -> Duty:
    duty = Duty(kernel, Path("unused"))
    duty.store = HistoryStore(address_of(address), KEY)
    duty.name = duty.store.address.name
    return duty


def test_a_bucket_is_written_proven_queried_and_reported_as_a_folder_is(
    kernel: Kernel, bucket: str, tmp_path: Path
) -> None:
    a_day(kernel)
    there, here = duty_at(kernel, bucket), Duty(kernel, tmp_path)
    [planned] = there.round()
    here.round()
    kernel.do(readings([(AIR, 30.5, -21.0)]))
    kernel.advance(120)
    for duty in (there, here):
        assert [one.file_no for one in duty.round()] == [1]
    assert there.store.names("readings") == here.store.names("readings")
    with there.store.open(path_of(planned, "readings")) as file:
        verdict = verify_file(kernel.reader(), file)
    assert (verdict.ok, verdict.proven) == (True, 2)
    assert report(there.store, DAY) == report(here.store, DAY)
    text = (
        "SELECT date, site, sensor_id, count(*), max(version) FROM readings GROUP BY ALL ORDER BY sensor_id"
    )
    found = HistorySql(there.store).select(text)
    assert found == HistorySql(here.store).select(text)
    assert found[1][0] == (DAY, "ATL1", AIR, MIDNIGHT_MIN + 1, 1)


def test_a_query_over_a_bucket_reaches_no_file_and_no_address(kernel: Kernel, bucket: str) -> None:
    a_day(kernel)
    duty = duty_at(kernel, bucket)
    duty.round()
    sql = HistorySql(duty.store)
    for text in ("SELECT * FROM read_text('/etc/hostname')", "SELECT * FROM 's3://x/y.parquet'"):
        with pytest.raises(ValueError, match=r"disabled|not allowed|Permission|Cannot access"):
            sql.select(text)


def test_while_a_bucket_is_away_nothing_is_lost_and_nothing_is_noted_as_written(
    kernel: Kernel, bucket: str
) -> None:
    a_day(kernel)
    name = duty_at(kernel, bucket).name
    away = duty_at(kernel, f"{name}?endpoint=http://127.0.0.1:{free_port()}&region=us-east-1")
    away.look()
    [planned] = away.plan()
    with pytest.raises(OSError, match=r"\w"):
        away.put(planned)
    assert history.unwritten(kernel.reader(), name) == [planned]
    back = duty_at(kernel, bucket)
    assert back.round() == [planned]
    assert history.unwritten(kernel.reader(), name) == []


def test_a_wrong_bucket_is_an_error_that_names_it(kernel: Kernel, endpoint: str) -> None:
    a_day(kernel)
    duty = duty_at(kernel, f"s3://nobodys/grid?endpoint={endpoint}&region=us-east-1")
    duty.look()
    [planned] = duty.plan()
    with pytest.raises(OSError, match="nobodys"):
        duty.put(planned)

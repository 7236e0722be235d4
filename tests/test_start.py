"""What a process loads before it works: a library that nobody uses costs each start, and memory for ever."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SERVES_A_SITE = """
from coldgrid.node.application import NODE_MODULES
from coldgrid.node.handlers import handlers_of
from coldgrid.node.rooms import load_rooms
load_rooms()
handlers_of(NODE_MODULES)
"""
# What structlog and httpx load where they find it; what the port for nodes, other backends and extras need.
FOR_LOOKS = {"rich", "pygments", "click"}
OF_SERVERS = {"sqlalchemy", "litestar", "numpy", "httpx", "cryptography"}
OF_OTHERS = {"uvicorn", "sqlalchemy.dialects.postgresql", "psycopg", "pyarrow", "duckdb", "typst"}


def loaded(code: str) -> set[str]:
    """Return the modules of a new process that has run some code."""
    told = (
        f"{code}\nimport json, sys\nprint(json.dumps([n for n, m in sys.modules.items() if m is not None]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", told], check=True, capture_output=True, text=True, timeout=100
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("entrance", "spared"),
    [
        ("import coldgrid.cli.app, coldgrid.cli.asking", FOR_LOOKS | OF_OTHERS | OF_SERVERS),
        (f"import coldgrid.cli.app, coldgrid.node.serve_node\n{SERVES_A_SITE}", FOR_LOOKS | OF_OTHERS),
    ],
    ids=["a command that asks a host", "a node"],
)
def test_a_process_loads_no_library_that_it_does_not_use(entrance: str, spared: set[str]) -> None:
    assert not loaded(entrance) & spared


def test_a_traceback_in_the_log_is_plain_and_complete() -> None:
    code = """
from coldgrid.kernel.logs import configure_logs
import structlog
configure_logs("warning", json=False)
try:
    {}["the key"]
except KeyError:
    structlog.get_logger().exception("it_failed")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=100
    )
    assert "it_failed" in done.stderr
    assert "Traceback (most recent call last):" in done.stderr
    assert "KeyError: 'the key'" in done.stderr

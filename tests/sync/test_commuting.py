"""Facts of the network and of its sites reach a database in any order and leave the same tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import Any

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from coldgrid.access.roles import Role
from coldgrid.access.words import AddPerson, AdmitPeople, AssignSites, SetPassword
from coldgrid.kernel import log, personal
from coldgrid.kernel.events import Entry
from coldgrid.kernel.origins import take_in
from coldgrid.kernel.rebuild import projection_tables
from coldgrid.kernel.requests import OpenRequests
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tx import Tx
from coldgrid.stock.reserves import NoteStaleness
from tests.access.house import known_hash
from tests.conftest import Kernel, sqlite_kernel
from tests.kernel.rooms import Bump
from tests.sync.pair import Node, Tower, network_of

ROOT: dict[str, Any] = {"actor": "root", "roles": {"admin"}}
# Counters of a test's room, which two sites bump under one name: no table of the product does that.
SHARED = ("toy",)


def live(tower: Tower, nodes: Sequence[Node]) -> None:
    """People come and move, requests are asked, refused and answered, and sites go on by themselves."""
    kernel = tower.kernel
    add = partial(AddPerson, roles=[Role.OPERATOR], password_hash=known_hash(), temporary=False)
    kernel.do(add(person_id="ana", name="Ana Silva", login="ana@example.com", sites=["ATL1"]), **ROOT)
    kernel.do(add(person_id="boss", name="Bo Ross", login="boss@example.com", sites=None), **ROOT)
    for round_no in range(3):
        for node in nodes:
            site_id = node.site_id
            kernel.do(Bump(site_id=site_id, name=f"{site_id}-a", by=40), actor="boss")
            node.kernel.do(Bump(site_id=site_id, name=f"{site_id}-b", by=round_no + 1))
        for node in nodes[: 1 + round_no % 2]:
            node.talk()
        kernel.do(NoteStaleness(site_id="CLT1", stale_min=(60, 300, 0)[round_no]))
    kernel.do(AssignSites(person_id="ana", sites=["ATL1", "CLT1"]), **ROOT)
    kernel.do(SetPassword(person_id="ana", password_hash=known_hash()), actor="ana")
    kernel.do(AssignSites(person_id="ana", sites=["CLT1"]), **ROOT)
    kernel.do(AdmitPeople(site_id="ATL1"), **ROOT)
    for node in [*nodes, *nodes]:
        node.talk()


@cache
def history() -> tuple[list[Entry], dict[str, bytes], dict[str, Any]]:
    """The tower's whole log, the keys of its people, and its tables."""
    with network_of("ATL1", "CLT1") as (tower, nodes):
        live(tower, nodes)
        entries = list(log.read_all(tower.kernel.reader()))
        subjects = sorted(set().union(*(personal.subjects_in(entry.body) for entry in entries)))
        return entries, personal.keys_of(tower.kernel.reader(), subjects), tables_of(tower.kernel)


def tables_of(kernel: Kernel) -> dict[str, Any]:
    tables = [table for table in projection_tables() if table.name not in SHARED]
    db = kernel.reader()
    rows: dict[str, Any] = {
        table.name: sorted(db.all(Statement(sa.select(table))), key=repr) for table in tables
    }
    waiting = kernel.decider.shared.hot[OpenRequests].by_site
    return rows | {"waiting": {site_id: sorted(names) for site_id, names in waiting.items()}}


def merged(entries: Sequence[Entry], turns: Sequence[int]) -> Iterator[Entry]:
    """Each origin's entries in their own order; the origins take turns as told, then one by one."""
    queues: dict[str, list[Entry]] = {}
    for entry in entries:
        queues.setdefault(entry.origin, []).append(entry)
    names = sorted(queues)
    for turn in turns:
        queue = queues[names[turn % len(names)]]
        if queue:
            yield queue.pop(0)
    for turn in turns[:1] or [0]:
        for name in names[turn:] + names[:turn]:
            yield from queues[name]


def _take(tx: Tx, entry: Entry, keys: dict[str, bytes]) -> None:
    for subject, key in keys.items():
        tx.take_key(subject, key)
    take_in(tx, [entry])


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=60))
def test_projections_of_different_origins_commute(turns: list[int]) -> None:
    entries, keys, expected = history()
    with sqlite_kernel() as kernel:
        for number, entry in enumerate(merged(entries, turns)):
            take = partial(_take, entry=entry, keys={} if number else keys)
            kernel.decider.take(entry.origin, take, "test")
        assert tables_of(kernel) == expected


def test_the_history_has_what_the_law_is_about() -> None:
    entries, _, tables = history()
    types = {entry.type for entry in entries}
    assert {"kernel.requested", "kernel.answered", "access.person_admitted"} <= types
    assert {row[1] for row in tables["kernel_answer"]} == {"done", "refused"}
    assert len({entry.origin for entry in entries}) == 3

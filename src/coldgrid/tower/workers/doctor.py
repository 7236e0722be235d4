"""What the doctor looks at in a tower of several workers: whether one of them decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg

from coldgrid.kernel import postgres_lease
from coldgrid.kernel.postgres import PATIENCE
from coldgrid.kernel.postgres_lease import HeardWorker, Lease
from coldgrid.node.doctor import Finding, Patient, fail, ok
from coldgrid.tower.workers.lookout import told_of

HEARD_WITHIN_S = 10.0
MEANS = "Pages and reads answer; every command is refused with 503 nobody_decides, and no timer fires."


def check_workers(patient: Patient) -> Iterator[Finding]:
    """Look who decides on a server's database, and why nobody does."""
    if patient.role != "tower" or patient.database is not None:
        return
    try:
        with psycopg.connect(patient.settings.database, autocommit=True, **PATIENCE) as driver:
            lease, known = postgres_lease.look(driver), postgres_lease.heard(driver)
    except psycopg.errors.UndefinedTable:  # no worker ever served
        return
    except psycopg.Error:  # the look at the database says so
        return
    serving = [one for one in known if one.silent_s < HEARD_WITHIN_S]
    if serving:
        yield _decides(patient, lease, serving)


def _decides(patient: Patient, lease: Lease, serving: Sequence[HeardWorker]) -> Finding:
    count = f"{len(serving)} worker{'s' * (len(serving) != 1)} serve{'s' * (len(serving) == 1)}"
    beats = lease.silent_s is not None and lease.silent_s < HEARD_WITHIN_S
    if lease.held and lease.certificate and beats:
        return ok("workers", f"{count}; {lease.holder} decides by term {lease.term}")
    back = [f"{one.worker}: {told.stands_back}" for one in serving if (told := told_of(one)).stands_back]
    if back:
        todo = "Or stop every worker, then start those with the right keys: docs/scale.md."
        return fail("workers", f"{count} and none may decide: {'; '.join(back)}", MEANS, todo)
    if lease.held and not lease.certificate:
        todo = f"It is a rebuild, an upgrade or another command. Wait for {lease.holder} to end, or end it."
        return fail("workers", f"{count}, and {lease.holder} keeps the lease from them", MEANS, todo)
    todo = "Look again in a minute: a change of leaders takes seconds. Then look at their logs and /health."
    return fail("workers", f"{count} and none decides", MEANS, todo)

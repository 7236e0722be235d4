"""What the doctor looks at in a tower's master data: whether somebody is paged about the network itself."""

from __future__ import annotations

from collections.abc import Iterator

from coldgrid.kernel.driver import DriverError
from coldgrid.kernel.reading import Reader
from coldgrid.network.groups import NETWORK_GROUP, get_group, has_network_group
from coldgrid.network.rotas import at_instant
from coldgrid.network.sites import site_labels
from coldgrid.node.doctor import Finding, Patient, database_of, ok, warn

NAME = "on call for the network"
MEANS = "A log that forked or a node that was copied opens an incident of the network, and nobody is woken."


def check_on_call(patient: Patient) -> Iterator[Finding]:
    """Look whether the group that answers for the network is there and somebody in it can be reached now."""
    if patient.role != "tower" or (patient.database is not None and not patient.database.is_file()):
        return
    try:
        with database_of(patient) as db:
            yield _on_call(db, patient)
    except (DriverError, OSError):
        return  # the look at the database says so


def _on_call(db: Reader, patient: Patient) -> Finding:
    if not has_network_group(db):
        if not site_labels(db):
            return ok(NAME, "there is no site yet")
        todo = f"Set up the escalation group {NETWORK_GROUP} under Network, or import it: docs/network.md."
        return warn(NAME, f"there is no group {NETWORK_GROUP}", MEANS, todo)
    steps = at_instant(get_group(db, NETWORK_GROUP), patient.now).steps
    people = {contact.person_id for step in steps for contact in step.contacts if contact.address}
    if not people:
        todo = f"Give {NETWORK_GROUP} people with an address, and a rota that has begun, under Network."
        return warn(NAME, f"nobody in {NETWORK_GROUP} can be reached now", MEANS, todo)
    return ok(NAME, f"{NETWORK_GROUP} pages {len(people)} {'person' if len(people) == 1 else 'people'} now")

"""Laws of enrolment under random histories, on both databases and without sockets."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from coldgrid.kernel.rejections import Forbidden, Rejected
from coldgrid.sync import enrolled, enrolment
from coldgrid.sync.admission import GRACE, decide_admission
from coldgrid.sync.authority import Identity, Shown
from coldgrid.sync.node_words import (
    EnrolNode,
    IssueCode,
    RenewCertificate,
    ReportClone,
    RevokeNode,
    TakeUpCertificate,
    WithdrawCode,
)
from tests.conftest import Kernel
from tests.network.master import small_network

START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
LIFE = timedelta(days=30)


class History:
    """Random commands of people, nodes and copies; it remembers what it was given, as they would."""

    def __init__(self, kernel: Kernel, seed: int) -> None:
        small_network(kernel)
        self.kernel = kernel
        self.random = Random(seed)
        self.at = START
        self.codes: list[tuple[str, str]] = []
        self.shown: list[Shown] = []
        self.numbers = iter(range(10_000))

    def hash(self) -> str:
        return f"{next(self.numbers):064x}"

    def step(self) -> None:
        self.at += timedelta(minutes=self.random.choice([1, 1, 2, 5, 5, 10, 10, 20, 60 * 24 * 12]))
        kinds = [self.issue, self.issue, self.enrol, self.enrol, self.renew, self.renew, self.use, self.use]
        kinds += [self.withdraw, self.revoke, self.report] if self.random.random() < 0.2 else []
        with suppress(Rejected):
            self.random.choice(kinds)()

    def issue(self) -> None:
        nodes = enrolled.list_nodes(self.kernel.reader())
        node_id = self.random.choice(nodes).node_id if nodes and self.random.random() < 0.4 else ""
        code_id, secret_hash = f"code-{next(self.numbers)}", self.hash()
        self.kernel.do(
            IssueCode(code_id=code_id, site_id="ATL1", secret_hash=secret_hash, at=self.at, node_id=node_id)
        )
        self.codes.append((code_id, secret_hash))

    def enrol(self) -> None:
        secret_hash = self.random.choice(self.codes[-3:])[1]
        code = enrolment.find_code(self.kernel.reader(), secret_hash)
        assert code is not None
        keys = [shown.key_hash for shown in self.shown[-3:]] + [self.hash()]
        command = EnrolNode(
            secret_hash=secret_hash,
            node_id=code.enrols,
            site_id="ATL1",
            serial=self.hash()[-32:],
            key_hash=self.random.choice(keys),
            certificate="-",
            at=self.at,
            not_after=self.at + LIFE,
        )
        self.given(code.enrols, command.key_hash, self.kernel.do(command)["serial"])

    def renew(self) -> None:
        shown = self.random.choice(self.shown[-6:])
        self.admit(shown, renewing=True)
        command = RenewCertificate(
            node_id=shown.identity.node_id,
            replaces=shown.serial,
            serial=self.hash()[-32:],
            key_hash=self.hash(),
            certificate="-",
            at=self.at,
            not_after=self.at + LIFE,
        )
        answer = self.kernel.do(command)
        if "serial" in answer:
            self.given(command.node_id, command.key_hash, answer["serial"])

    def use(self) -> None:
        shown = self.random.choice(self.shown[-6:])
        self.admit(shown)
        self.kernel.do(TakeUpCertificate(serial=shown.serial, at=self.at))

    def withdraw(self) -> None:
        self.kernel.do(WithdrawCode(code_id=self.random.choice(self.codes)[0]))

    def revoke(self) -> None:
        self.kernel.do(RevokeNode(node_id=self.random.choice(self.shown).identity.node_id, reason="sold"))

    def report(self) -> None:
        shown = self.random.choice(self.shown)
        command = ReportClone(node_id=shown.identity.node_id, serial=shown.serial, why="two", at=self.at)
        self.kernel.do(command)

    def given(self, node_id: str, key_hash: str, serial: str) -> None:
        held = enrolled.find_certificate(self.kernel.reader(), serial)
        assert held is not None
        identity = Identity("cold.example", "ATL1", node_id)
        self.shown.append(Shown(identity, serial, held.issued_at, held.not_after, key_hash))

    def admit(self, shown: Shown, *, renewing: bool = False) -> None:
        db = self.kernel.reader()
        node = enrolled.find_node(db, shown.identity.node_id)
        held = enrolled.find_certificate(db, shown.serial)
        decide_admission(shown, node, held, self.at, renewing=renewing)

    def check(self) -> None:
        db = self.kernel.reader()
        at_work = [node for node in enrolled.list_nodes(db) if node.revoked_at is None]
        assert enrolled.nodes_of(db, "ATL1") == at_work
        assert not enrolled.nodes_of(db, "CLT1")
        for node in enrolled.list_nodes(db):
            certificates = enrolled.certificates_of(db, node.node_id)
            standing = [held for held in certificates if held.superseded_at is None]
            assert node.serial in {held.serial for held in standing}
            assert sum(held.taken_up_at is not None for held in standing) <= 1
            assert len({held.replaces for held in standing}) == len(standing)
        for shown in self.shown:
            owner = enrolled.get_node(db, shown.identity.node_id)
            held = enrolled.find_certificate(db, shown.serial)
            assert held is not None
            admitted = True
            try:
                self.admit(shown)
            except Forbidden:
                admitted = False
            counts = held.superseded_at is None and self.at < held.not_after
            assert admitted == (counts and owner.revoked_at is None)
            if self.at >= held.not_after + GRACE:
                with pytest.raises(Forbidden):
                    self.admit(shown, renewing=True)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_only_what_counts_is_admitted_and_the_tables_are_the_log(
    kernel: Kernel, seed: int
) -> None:
    history = History(kernel, seed)
    for _ in range(3):
        history.issue()
        with suppress(Rejected):
            history.enrol()
    for number in range(120):
        history.step()
        if number % 10 == 0:
            history.check()
    history.check()
    kernel.rebuild()
    done = [type(event).__name__ for _, event in kernel.events()]
    assert {"NodeEnrolled", "CertificateRenewed", "CertificateTakenUp"} <= set(done)

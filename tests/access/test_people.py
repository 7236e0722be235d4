"""People and tokens: decisions, the log's wire form, and what is left of an erased person."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from coldgrid.access import api_tokens, people, reads, sessions
from coldgrid.access.api_tokens import (
    IssueToken,
    RevokeToken,
    TokenExists,
    TokenIssued,
    TokenNotFound,
    TokenRevoked,
)
from coldgrid.access.authority import Person, decide_grant, decide_revoke, decide_suspend
from coldgrid.access.degrees import ReadUnit, UnitChosen
from coldgrid.access.passwords import hash_password, is_hash, problems_of, verify_password
from coldgrid.access.reads import NoteRead
from coldgrid.access.roles import Role
from coldgrid.access.sessions import CloseOtherSessions, CloseSession, OpenSession, TouchSession
from coldgrid.access.throttle import WATCHED_MAX, Throttle
from coldgrid.access.tokens import draw, draw_api_token, draw_password, form_token, hash_token
from coldgrid.access.words import (
    AddPerson,
    AssignSites,
    Granted,
    GrantRole,
    LastAdmin,
    LoginTaken,
    NotYourPassword,
    OwnAuthority,
    PasswordSet,
    PersonAdded,
    PersonAdmitted,
    PersonExists,
    PersonNotFound,
    PersonReinstated,
    PersonSuspended,
    ReinstatePerson,
    RevokeRole,
    RoleGranted,
    RoleRevoked,
    RolesApart,
    SetPassword,
    SetUpDone,
    SetUpFirstAdmin,
    SitesAssigned,
    SuspendPerson,
)
from coldgrid.kernel import log
from coldgrid.kernel.events import Event
from coldgrid.kernel.personal import EraseSubject, Sealed
from coldgrid.kernel.rejections import Invalid
from tests.access.house import known_hash
from tests.conftest import T0, Kernel

ADMIN = {"admin"}
LIMITS = sessions.Limits()
HASH = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"


def person(person_id: str = "ben", *roles: str, suspended: bool = False) -> Person:
    return Person(person_id, "Ben", "ben", tuple(roles), None, True, False, suspended, T0)


class TestDecisions:
    def test_a_role_is_given_by_somebody_else(self) -> None:
        assert decide_grant("ana", person(), Role.QUALITY) == [
            RoleGranted(person_id="ben", role=Role.QUALITY)
        ]

    def test_nobody_gives_themself_a_role(self) -> None:
        with pytest.raises(OwnAuthority):
            decide_grant("ben", person("ben", "admin"), Role.SUPERVISOR)

    def test_a_role_they_have_is_nothing_new(self) -> None:
        assert decide_grant("ana", person("ben", "quality"), Role.QUALITY) == []

    def test_admin_and_quality_are_never_one_person(self) -> None:
        with pytest.raises(RolesApart):
            decide_grant("ana", person("ben", "quality"), Role.ADMIN)

    def test_the_last_admin_stays(self) -> None:
        with pytest.raises(LastAdmin):
            decide_revoke("system", person("ben", "admin"), Role.ADMIN, ["ben"])
        with pytest.raises(LastAdmin):
            decide_suspend("system", person("ben", "admin"), "left", ["ben"])

    def test_one_of_two_admins_may_go(self) -> None:
        assert len(decide_revoke("ana", person("ben", "admin"), Role.ADMIN, ["ana", "ben"])) == 1
        assert len(decide_suspend("ana", person("ben", "admin"), "left", ["ana", "ben"])) == 1

    def test_suspending_twice_is_harmless(self) -> None:
        assert decide_suspend("ana", person(suspended=True), "left", ["ana"]) == []


def add(kernel: Kernel, person_id: str, *roles: Role, **more: Any) -> None:
    command = AddPerson(
        person_id=person_id,
        name=person_id.title(),
        login=person_id,
        roles=list(roles),
        password_hash=HASH,
        **more,
    )
    kernel.do(command, actor="root", roles=ADMIN)


class TestPeople:
    def test_a_person_is_added_with_roles_and_sites(self, kernel: Kernel) -> None:
        add(kernel, "ben", Role.OPERATOR, Role.SUPERVISOR, sites=["ATL1"])
        found = people.get_person(kernel.reader(), "ben")
        assert (found.name, found.login, found.roles, found.sites) == (
            "Ben",
            "ben",
            ("operator", "supervisor"),
            ("ATL1",),
        )
        assert found.temporary
        kernel.rebuild()

    def test_the_log_holds_no_name_and_no_login(self, kernel: Kernel) -> None:
        command = AddPerson(person_id="p1", name="Benedikt Ortiz", login="benedikt@example.com", roles=[])
        kernel.do(command, roles=ADMIN)
        bodies = b"".join(entry.body for entry in log.read_all(kernel.reader()))
        assert b"enedikt" not in bodies

    def test_logins_differ_by_more_than_case(self, kernel: Kernel) -> None:
        add(kernel, "ben")
        with pytest.raises(LoginTaken):
            kernel.do(AddPerson(person_id="b2", name="B", login=" BEN ", roles=[]), roles=ADMIN)
        with pytest.raises(PersonExists):
            kernel.do(AddPerson(person_id="ben", name="B", login="other", roles=[]), roles=ADMIN)

    def test_every_wrong_field_is_named(self, kernel: Kernel) -> None:
        with pytest.raises(Invalid) as caught:
            kernel.do(
                AddPerson(person_id="x", name=" ", login="a b", roles=[], password_hash="plain"), roles=ADMIN
            )
        assert [p.field for p in caught.value.problems] == ["name", "login", "password_hash"]

    def test_the_first_admin_is_set_up_once(self, kernel: Kernel) -> None:
        first = SetUpFirstAdmin(person_id="p1", name="Ana", login="ana", password_hash=HASH)
        assert not people.anybody(kernel.reader())
        kernel.do(first, actor="system")
        assert people.get_person(kernel.reader(), "p1").roles == ("admin",)
        with pytest.raises(SetUpDone):
            kernel.do(
                SetUpFirstAdmin(person_id="p2", name="Eve", login="eve", password_hash=HASH), actor="system"
            )

    def test_roles_and_sites_change_by_somebody_elses_hand(self, kernel: Kernel) -> None:
        add(kernel, "ben", Role.OPERATOR)
        kernel.do(GrantRole(person_id="ben", role=Role.TECHNICIAN), roles=ADMIN)
        kernel.do(RevokeRole(person_id="ben", role=Role.OPERATOR), roles=ADMIN)
        kernel.do(AssignSites(person_id="ben", sites=["CLT1", "ATL1", "ATL1"]), roles=ADMIN)
        found = people.get_person(kernel.reader(), "ben")
        assert (found.roles, found.sites) == (("technician",), ("ATL1", "CLT1"))
        with pytest.raises(OwnAuthority):
            kernel.do(AssignSites(person_id="ben", sites=None), actor="ben", roles=ADMIN)
        with pytest.raises(PersonNotFound):
            kernel.do(GrantRole(person_id="nobody", role=Role.PLANNER), roles=ADMIN)
        kernel.rebuild()

    def test_a_password_is_set_by_its_owner_or_temporarily_by_an_admin(self, kernel: Kernel) -> None:
        add(kernel, "ben")
        kernel.do(SetPassword(person_id="ben", password_hash=HASH), actor="ben")
        assert not people.get_person(kernel.reader(), "ben").temporary
        kernel.do(SetPassword(person_id="ben", password_hash=HASH), actor="ana", roles=ADMIN)
        assert people.get_person(kernel.reader(), "ben").temporary
        with pytest.raises(NotYourPassword):
            kernel.do(SetPassword(person_id="ben", password_hash=HASH), actor="eve", roles={"quality"})
        with pytest.raises(Invalid):
            kernel.do(SetPassword(person_id="ben", password_hash="plain"), actor="ben")

    def test_a_suspended_person_comes_back_with_what_they_had(self, kernel: Kernel) -> None:
        add(kernel, "ben", Role.OPERATOR)
        kernel.do(SuspendPerson(person_id="ben", reason="left"), roles=ADMIN)
        assert people.get_person(kernel.reader(), "ben").suspended
        kernel.do(ReinstatePerson(person_id="ben", reason="came back"), roles=ADMIN)
        found = people.get_person(kernel.reader(), "ben")
        assert (found.suspended, found.roles) == (False, ("operator",))

    def test_of_an_erased_person_only_the_id_is_left(self, kernel: Kernel) -> None:
        add(kernel, "ben", Role.OPERATOR)
        kernel.do(EraseSubject(subject="ben", reason="asked"), roles=ADMIN)
        found = people.get_person(kernel.reader(), "ben")
        assert (found.name, found.login, found.has_password, found.suspended) == (None, None, False, True)
        assert people.credentials_of(kernel.reader(), "ben") is None
        assert people.name_of(kernel.reader(), "ben") == "ben"
        kernel.do(ReinstatePerson(person_id="ben", reason="again"), roles=ADMIN)
        assert people.get_person(kernel.reader(), "ben").suspended
        kernel.rebuild()


class TestTokens:
    def issue(self, **more: Any) -> IssueToken:
        values: dict[str, Any] = {
            "token_id": "t1",
            "label": "Storefront",
            "token_hash": hash_token("cgt_x"),
            "roles": [Role.INTEGRATOR],
        }
        return IssueToken(**values | more)

    def test_a_token_is_found_by_its_hash_until_revoked(self, kernel: Kernel) -> None:
        kernel.do(self.issue(sites=["ATL1"]), roles=ADMIN)
        found = api_tokens.find_token(kernel.reader(), hash_token("cgt_x"), T0)
        assert found is not None
        assert (found.label, found.roles, found.sites) == ("Storefront", ["integrator"], ["ATL1"])
        kernel.do(RevokeToken(token_id="t1"), roles=ADMIN)
        kernel.do(RevokeToken(token_id="t1"), roles=ADMIN)
        assert api_tokens.find_token(kernel.reader(), hash_token("cgt_x"), T0) is None
        assert len(api_tokens.list_tokens(kernel.reader())) == 1
        kernel.rebuild()

    def test_channels_bind_an_integrator_and_are_named_as_orders_name_them(self, kernel: Kernel) -> None:
        kernel.do(self.issue(channels=["web_b2b", "web", "web"]), roles=ADMIN)
        found = api_tokens.find_token(kernel.reader(), hash_token("cgt_x"), T0)
        assert found is not None
        assert found.channels == ["web", "web_b2b"]
        wrong: list[dict[str, Any]] = [
            {"channels": ["Web Shop"]},
            {"channels": []},
            {"channels": ["web"], "roles": [Role.INTEGRATOR, Role.CUSTOMER_CARE]},
        ]
        for odd in wrong:
            with pytest.raises(Invalid) as caught:
                kernel.do(self.issue(token_id="t2", **odd), roles=ADMIN)
            assert {problem.field for problem in caught.value.problems} == {"channels"}

    def test_a_token_expires_by_the_system_clock(self, kernel: Kernel) -> None:
        kernel.do(self.issue(expires_at=T0), roles=ADMIN)
        assert (
            api_tokens.find_token(kernel.reader(), hash_token("cgt_x"), T0 - timedelta(seconds=1)) is not None
        )
        assert api_tokens.find_token(kernel.reader(), hash_token("cgt_x"), T0) is None

    @pytest.mark.parametrize(
        "role", [Role.ADMIN, Role.QUALITY, Role.RESPONSIBLE_PERSON, Role.RECALL_COORDINATOR]
    )
    def test_no_machine_signs_for_a_person(self, kernel: Kernel, role: Role) -> None:
        with pytest.raises(Invalid):
            kernel.do(self.issue(roles=[role]), roles=ADMIN)

    def test_every_wrong_field_is_named(self, kernel: Kernel) -> None:
        with pytest.raises(Invalid) as caught:
            kernel.do(
                self.issue(label="", token_hash="x", roles=[], expires_at=T0.replace(tzinfo=None)),
                roles=ADMIN,
            )
        assert [p.field for p in caught.value.problems] == ["label", "token_hash", "roles", "expires_at"]

    def test_ids_are_used_once(self, kernel: Kernel) -> None:
        kernel.do(self.issue(), roles=ADMIN)
        with pytest.raises(TokenExists):
            kernel.do(self.issue(), roles=ADMIN)
        with pytest.raises(TokenNotFound):
            kernel.do(RevokeToken(token_id="t2"), roles=ADMIN)


def opening(token_hash: str, person_id: str, at: datetime, replaces: str = "") -> OpenSession:
    since, before = at - LIMITS.idle, at - LIMITS.longest
    return OpenSession(
        token_hash=token_hash,
        person_id=person_id,
        at=at,
        idle_since=since,
        opened_before=before,
        replaces=replaces,
    )


class TestSessions:
    def test_a_session_ends_idle_and_at_the_latest(self, kernel: Kernel) -> None:
        kernel.do(opening("h", "ben", T0))
        db, idle, longest = kernel.reader(), LIMITS.idle, LIMITS.longest
        assert sessions.find_session(db, "h", T0 + idle - timedelta(seconds=1), LIMITS) is not None
        assert sessions.find_session(db, "h", T0 + idle, LIMITS) is None
        for n in range(1, 24):
            kernel.do(TouchSession(token_hash="h", at=T0 + n * idle / 2))
        assert sessions.find_session(db, "h", T0 + longest - timedelta(seconds=1), LIMITS) is not None
        assert sessions.find_session(db, "h", T0 + longest, LIMITS) is None

    def test_a_new_session_replaces_the_old_and_sweeps_the_dead(self, kernel: Kernel) -> None:
        kernel.do(opening("dead", person_id="eve", at=T0 - timedelta(days=2)))
        kernel.do(opening("old", person_id="ben", at=T0))
        kernel.do(opening("new", person_id="ben", at=T0, replaces="old"))
        assert [s.token_hash for s in sessions.sessions_of(kernel.reader(), "ben", T0, LIMITS)] == ["new"]
        assert sessions.sessions_of(kernel.reader(), "eve", T0 - timedelta(days=2), LIMITS) == []

    def test_ending_one_or_the_others(self, kernel: Kernel) -> None:
        for name in "abc":
            kernel.do(opening(name, person_id="ben", at=T0))
        kernel.do(CloseSession(token_hash="a"))
        assert [s.token_hash for s in sessions.sessions_of(kernel.reader(), "ben", T0, LIMITS)] == ["b", "c"]
        kernel.do(CloseOtherSessions(person_id="ben", token_hash="c"))
        assert [s.token_hash for s in sessions.sessions_of(kernel.reader(), "ben", T0, LIMITS)] == ["c"]

    @pytest.mark.parametrize("what", ["suspended", "erased", "new password"])
    def test_no_session_outlives_the_trust_it_rests_on(self, kernel: Kernel, what: str) -> None:
        add(kernel, "ben")
        kernel.do(opening("h", "ben", T0))
        kernel.do(
            {
                "suspended": SuspendPerson(person_id="ben", reason="left"),
                "erased": EraseSubject(subject="ben", reason="asked"),
                "new password": SetPassword(person_id="ben", password_hash=HASH),
            }[what],
            roles=ADMIN,
        )
        assert sessions.find_session(kernel.reader(), "h", T0, LIMITS) is None

    def test_sessions_are_no_facts_of_the_log(self, kernel: Kernel) -> None:
        kernel.do(opening("h", "ben", T0))
        assert kernel.events() == []


def test_a_read_is_kept_beside_the_log_until_its_time(kernel: Kernel) -> None:
    def note(read_id: str, days: int) -> None:
        at = T0 + timedelta(days=days)
        kernel.do(NoteRead(read_id=read_id, actor="ben", kind="quality", subject="/incidents/7", at=at))

    note("r1", 0)
    note("r2", 1)
    assert [(r.actor, r.kind) for r in reads.reads_of(kernel.reader(), "/incidents/7")] == [
        ("ben", "quality")
    ] * 2
    assert kernel.events() == []
    note("r3", reads.KEPT.days + 1)
    assert [r.read_id for r in reads.latest_reads(kernel.reader())] == ["r3", "r2"]


SEALED = Sealed("p1", b"\x01\x02")
FROZEN: list[tuple[Event, str]] = [
    (
        PersonAdded(person_id="p1", name=SEALED, login=SEALED, sites=["ATL1"]),
        '{"type":"access.person_added","person_id":"p1","name":{"subject":"p1","cipher":"AQI="},'
        '"login":{"subject":"p1","cipher":"AQI="},"sites":["ATL1"]}',
    ),
    (
        RoleGranted(person_id="p1", role=Role.QUALITY),
        '{"type":"access.role_granted","person_id":"p1","role":"quality"}',
    ),
    (
        RoleRevoked(person_id="p1", role=Role.QUALITY),
        '{"type":"access.role_revoked","person_id":"p1","role":"quality"}',
    ),
    (
        SitesAssigned(person_id="p1", sites=None),
        '{"type":"access.sites_assigned","person_id":"p1","sites":null}',
    ),
    (
        PasswordSet(person_id="p1", password_hash="$argon2id$x", temporary=True),
        '{"type":"access.password_set","person_id":"p1","password_hash":"$argon2id$x","temporary":true}',
    ),
    (
        PersonAdmitted(
            person_id="p1",
            name=SEALED,
            login=None,
            sites=["ATL1"],
            roles=[Granted(Role.OPERATOR, "p2", datetime(2027, 1, 1, tzinfo=UTC))],
            password_hash="$argon2id$x",
            temporary=False,
            suspended=False,
            added_at=datetime(2027, 1, 1, tzinfo=UTC),
        ),
        '{"type":"access.person_admitted","person_id":"p1","name":{"subject":"p1","cipher":"AQI="},"login":null,'
        '"sites":["ATL1"],"roles":[{"role":"operator","granted_by":"p2","granted_at":"2027-01-01T00:00:00Z"}],'
        '"password_hash":"$argon2id$x","temporary":false,"suspended":false,"added_at":"2027-01-01T00:00:00Z"}',
    ),
    (
        UnitChosen(person_id="p1", unit=ReadUnit.FAHRENHEIT),
        '{"type":"access.unit_chosen","person_id":"p1","unit":"f"}',
    ),
    (
        PersonSuspended(person_id="p1", reason="left"),
        '{"type":"access.person_suspended","person_id":"p1","reason":"left"}',
    ),
    (
        PersonReinstated(person_id="p1", reason="back"),
        '{"type":"access.person_reinstated","person_id":"p1","reason":"back"}',
    ),
    (
        TokenIssued(
            token_id="t1",
            label="Shop",
            token_hash="ab",
            roles=[Role.INTEGRATOR],
            sites=None,
            expires_at=datetime(2027, 1, 1, tzinfo=UTC),
        ),
        '{"type":"access.token_issued","token_id":"t1","label":"Shop","token_hash":"ab","roles":["integrator"],'
        '"sites":null,"expires_at":"2027-01-01T00:00:00Z"}',
    ),
    (
        TokenRevoked(token_id="t1", reason="lost"),
        '{"type":"access.token_revoked","token_id":"t1","reason":"lost"}',
    ),
]


@pytest.mark.parametrize(("event", "wire"), FROZEN, ids=[type(event).__name__ for event, _ in FROZEN])
def test_the_wire_form_is_frozen(event: Event, wire: str) -> None:
    assert msgspec.json.encode(event).decode() == wire
    assert msgspec.json.decode(wire, type=type(event)) == event


class TestPasswords:
    def test_a_hash_is_argon2id_and_salted(self) -> None:
        one, other = hash_password("seven quiet freezers hum"), known_hash()
        assert one != other
        assert is_hash(one)
        assert verify_password(one, "seven quiet freezers hum")
        assert not verify_password(one, "seven quiet freezers hum ")

    def test_nobodys_password_never_fits(self) -> None:
        assert not verify_password(None, "nobody has this password")
        assert not verify_password("", "")
        assert not verify_password("$argon2id$broken", "x")
        assert not verify_password(known_hash(), "x" * 10_000)

    @pytest.mark.parametrize(
        "password",
        ["", "short", "elevenchars", "a" * 40, "ababababababab", "passwordpassword", "ana@example.com"],
    )
    def test_what_others_would_try_first_is_refused(self, password: str) -> None:
        assert problems_of(password, "Ana Ortiz", "ana@example.com")

    @pytest.mark.parametrize(
        "password", ["seven quiet freezers hum", "x7$kQ!m2vT9p", "ärgerliche Tür klemmt"]
    )
    def test_long_and_odd_is_enough(self, password: str) -> None:
        assert problems_of(password, "Ana Ortiz", "ana") == []

    def test_a_drawn_password_is_accepted(self) -> None:
        assert problems_of(draw_password(), "Ana", "ana") == []


def test_tokens_are_long_different_and_stored_as_hashes() -> None:
    drawn = {draw() for _ in range(100)}
    assert len(drawn) == 100
    assert min(map(len, drawn)) >= 43
    token = draw_api_token()
    assert token.startswith("cgt_")
    assert hash_token(token) != form_token(token)
    assert token not in hash_token(token)


class TestThrottle:
    def test_after_enough_failures_the_key_waits_until_the_oldest_is_past(self) -> None:
        throttle = Throttle(3, timedelta(minutes=15))
        for minute in range(3):
            assert throttle.wait_s("a", T0) == 0
            throttle.failed("a", T0 + timedelta(minutes=minute))
        assert throttle.wait_s("a", T0 + timedelta(minutes=3)) == 12 * 60 + 1
        assert throttle.wait_s("b", T0 + timedelta(minutes=3)) == 0
        assert throttle.wait_s("a", T0 + timedelta(minutes=15)) == 0

    def test_a_clock_that_is_set_back_lets_nobody_wait_for_what_was_counted_before(self) -> None:
        throttle = Throttle(3, timedelta(minutes=1))
        for _ in range(3):
            throttle.failed("a", T0 + timedelta(hours=1))
        assert throttle.wait_s("a", T0 + timedelta(hours=1)) == 61
        assert throttle.wait_s("a", T0) == 0

    def test_success_forgets(self) -> None:
        throttle = Throttle(1, timedelta(minutes=15))
        throttle.failed("a", T0)
        throttle.succeeded("a")
        assert throttle.wait_s("a", T0) == 0

    def test_memory_is_bounded(self) -> None:
        throttle = Throttle(5, timedelta(minutes=15))
        for n in range(WATCHED_MAX + 50):
            throttle.failed(str(n), T0)
        assert len(throttle._failures) == WATCHED_MAX  # noqa: SLF001

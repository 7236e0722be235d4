"""Silent sites: the tower notes how old its facts of a site are."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.kernel.hosting import Hosting
from coldgrid.stock.reserves import NoteStaleness, buffer_permille, silence_of, stale_sites
from coldgrid.tower.staleness import Heard, Staleness, as_of, decide_notes, in_words
from tests.conftest import T0, Kernel, sqlite_kernel
from tests.kernel.rooms import Bump
from tests.sync.pair import Node, Tower, desk_of, network_of

AGO = st.none() | st.integers(0, 6_000).map(lambda minutes: T0 - timedelta(minutes=minutes))


def noted(sites: dict[str, Heard], known: dict[str, int]) -> dict[str, int]:
    return {note.site_id: note.stale_min for note in decide_notes(sites, known, T0)}


def ago(minutes: float) -> datetime:
    return T0 - timedelta(minutes=minutes)


# --- Decisions --------------------------------------------------------------------


def test_facts_are_as_old_as_the_last_word_of_a_node_that_had_told_everything() -> None:
    assert as_of(Heard(ago(3), True, ago(600))) == ago(3)
    assert as_of(Heard(ago(3), False, ago(600))) == ago(600), "it is still sending what it had"
    assert as_of(Heard(None, False, ago(600))) == ago(600), "not heard since this tower started"
    assert as_of(Heard(ago(3), False, None)) == ago(3)
    assert as_of(Heard(None, False, None)) is None


@pytest.mark.parametrize(
    ("silent_min", "known", "told"),
    [(4.9, 0, {}), (5, 0, {"ATL1": 5}), (14, 5, {}), (16, 5, {"ATL1": 16}), (0, 60, {"ATL1": 0})],
)
def test_what_is_noted_is_a_step_and_no_minute(silent_min: float, known: int, told: dict[str, int]) -> None:
    assert noted({"ATL1": Heard(ago(silent_min), True, None)}, {"ATL1": known} if known else {}) == told


def test_a_site_that_is_decided_here_again_is_fresh() -> None:
    assert noted({}, {"ATL1": 240}) == {"ATL1": 0}


def test_the_words_name_who_is_silent_and_who_was_never_heard() -> None:
    assert in_words({}, T0) == "no site has a node"
    sites = {"ATL1": Heard(ago(4.9), True, None)}
    assert in_words(sites, T0) == "each site with a node was heard in the last 5 min"
    sites["CLT1"] = Heard(ago(1), False, ago(61))
    sites["TPA1"] = Heard(None, False, None)
    assert in_words(sites, T0) == "silent: CLT1 for 61 min; never heard: TPA1"


@given(AGO, st.booleans(), AGO, st.integers(0, 6_000))
def test_noting_twice_notes_nothing_more(
    heard_at: datetime | None, caught_up: bool, last: datetime | None, known: int
) -> None:
    sites = {"ATL1": Heard(heard_at, caught_up, last)}
    first = noted(sites, {"ATL1": known})
    after = first.get("ATL1", known)
    assert noted(sites, {"ATL1": after} if after else {}) == {}
    if first:
        assert buffer_permille(after) != buffer_permille(known)


# --- Over the wire ------------------------------------------------------------------


def looker(tower: Tower) -> Staleness:
    kernel = tower.kernel

    def note(command: NoteStaleness) -> None:
        kernel.do(command, actor="system", roles={"system"})

    def elsewhere() -> list[str]:
        hosting: Hosting = kernel.decider.shared.hot[Hosting]
        return hosting.elsewhere

    return Staleness(desk_of(kernel), tower.post, elsewhere, note)


def wait(tower: Tower, node: Node, minutes: int) -> None:
    for kernel in (tower.kernel, node.kernel):
        kernel.host.instant += timedelta(minutes=minutes)


def test_silence_is_noted_in_steps_and_ends_when_everything_has_come(kernel: Kernel) -> None:
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    with sqlite_kernel() as own:
        node = Node(tower, own)
        node.talk()
        look = looker(tower).look
        assert look() == "each site with a node was heard in the last 5 min"
        heard_at = kernel.host.instant
        for minutes, known in ((4, {}), (4, {"ATL1": 8}), (60, {"ATL1": 68})):
            wait(tower, node, minutes)
            own.do(Bump(site_id="ATL1", name="a"))
            look()
            assert stale_sites(kernel.reader()) == known
        silence = silence_of(kernel.reader(), "ATL1")
        assert silence is not None
        assert silence.heard_at == heard_at
        assert silence.kept_back_permille == 80
        node.wake()
        node.talk()
        assert look() == "each site with a node was heard in the last 5 min"
        assert stale_sites(kernel.reader()) == {}
        kernel.rebuild()


def test_a_site_that_is_back_is_not_fresh_before_its_facts_are_here() -> None:
    with network_of("ATL1") as (tower, [node]):
        node.talk()
        own = node.kernel
        own.do(Bump(site_id="ATL1", name="a"))
        node.talk()
        wait(tower, node, 600)
        own.do(Bump(site_id="ATL1", name="a"))
        look = looker(tower).look
        look()
        assert stale_sites(tower.kernel.reader()) == {"ATL1": 600}
        node.wake()
        [hello] = node.carrier.look(node.now_us, 0)
        node.answer(hello)  # heard, and its facts still to come
        look()
        assert stale_sites(tower.kernel.reader()) == {"ATL1": 600}
        node.wake()
        node.talk()
        look()
        assert stale_sites(tower.kernel.reader()) == {}


def test_a_tower_that_was_down_trusts_what_it_has_only_as_old_as_it_is() -> None:
    with network_of("ATL1") as (tower, [node]):
        node.talk()
        node.kernel.do(Bump(site_id="ATL1", name="a"))
        node.talk()
        wait(tower, node, 300)
        tower.kernel.restart()
        tower.open_post()
        looker(tower).look()
        assert stale_sites(tower.kernel.reader()) == {"ATL1": 300}
        node.wake()
        node.talk()
        looker(tower).look()
        assert stale_sites(tower.kernel.reader()) == {}

"""The engine: what a node sends when, and what it makes of each answer. No clock, no socket, no database."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.sync import messages as m
from coldgrid.sync.acts import (
    Act,
    Answered,
    AskFeed,
    Backlog,
    Failed,
    Lane,
    Looked,
    Phase,
    SayHello,
    SendAhead,
    SendBlocks,
    SendCosign,
    SendFacts,
    SendParcels,
    State,
    Told,
)
from coldgrid.sync.engine import FOR_GOOD, begun_anew, due_us, step
from coldgrid.sync.messages import Code, Pace, Place
from coldgrid.sync.pace import BACKOFF_MAX_US, SECOND_US, Bucket, backoff_us

NOW = 1_000 * SECOND_US
WELCOME = m.Welcome(1, b"ticket", Place(1, 5), 0, 0, NOW)


def run(state: State, *told: Told, now_us: int = NOW) -> tuple[State, list[Act]]:
    acts: list[Act] = []
    for one in told:
        state, acts = step(state, one, now_us)
    return state, acts


def up(backlog: Backlog | None = None, **changes: object) -> State:
    """A node that was welcomed and has nothing under way but its poll."""
    state, _ = run(State(site_id="ATL1"), Looked(Backlog()), Answered(Lane.FACTS, WELCOME))
    state, _ = run(state, Answered(Lane.READINGS, m.BlocksTaken(0)))
    state = msgspec.structs.replace(state, overlap=False, **changes)
    return run(state, Looked(backlog))[0] if backlog is not None else state


def kinds(acts: list[Act]) -> list[type[Act]]:
    return [type(act) for act in acts]


def test_a_node_greets_first_and_does_nothing_else_until_it_is_welcome() -> None:
    state, acts = run(State(site_id="ATL1"), Looked(Backlog(Place(1, 9), 3)))
    assert acts == [SayHello()]
    state, acts = run(state, Looked(Backlog(Place(1, 10), 4)))
    assert (acts, state.phase) == ([], Phase.GREETING)
    state, acts = run(state, Answered(Lane.FACTS, WELCOME))
    assert state.phase is Phase.UP
    assert kinds(acts) == [SendFacts, AskFeed, SendParcels]


def test_after_a_welcome_the_first_batch_begins_one_entry_earlier_so_that_a_fork_shows() -> None:
    _, acts = run(State(site_id="ATL1"), Looked(Backlog(Place(1, 9))), Answered(Lane.FACTS, WELCOME))
    assert acts[0] == SendFacts(Place(1, 4), 2_000, 4)


def test_each_lane_has_one_request_under_way() -> None:
    state, acts = run(up(), Looked(Backlog(Place(1, 9))))
    assert acts == [SendFacts(Place(1, 5), 2_000, 4)]
    state, acts = run(state, Looked(Backlog(Place(1, 12))))
    assert acts == []
    state, acts = run(state, Answered(Lane.FACTS, m.Taken(Place(1, 9))))
    assert acts == [SendFacts(Place(1, 9), 2_000, 3)]


def test_readings_wait_while_the_facts_are_far_behind() -> None:
    state, acts = run(up(), Looked(Backlog(Place(1, 5_000), 7)))
    assert kinds(acts) == [SendAhead]
    state, acts = run(state, Answered(Lane.FACTS, m.Heard(0)))
    assert kinds(acts) == [SendFacts]
    state, acts = run(state, Answered(Lane.FACTS, m.Taken(Place(1, 4_900))))
    assert kinds(acts) == [SendFacts, SendParcels]


def test_wanted_blocks_go_before_parcels() -> None:
    state = up(Backlog(Place(1, 9), 7))
    state, _ = run(state, Answered(Lane.FACTS, m.Taken(Place(1, 9), [b"h1", b"h2"])))
    state, acts = run(state, Answered(Lane.READINGS, m.ParcelsTaken(6, [b"h1", b"h2"])))
    assert acts == [SendBlocks((b"h1", b"h2"))]
    state, acts = run(state, Answered(Lane.READINGS, m.BlocksTaken(2)))
    assert acts == [SendParcels(6)]


def test_blocks_that_the_node_does_not_have_hold_nothing_up() -> None:
    state, acts = run(up(Backlog(Place(1, 5), 7)), Answered(Lane.FACTS, m.Taken(Place(1, 5), [b"h"])))
    state, acts = run(state, Answered(Lane.READINGS, m.ParcelsTaken(6, [b"h"])))
    assert acts == [SendBlocks((b"h",))]
    state, acts = run(state, Answered(Lane.READINGS, m.BlocksTaken(0, [b"h"])))
    assert acts == [SendParcels(6)], "what is fresh does not wait"
    state, acts = run(state, Answered(Lane.READINGS, m.ParcelsTaken(7, [b"h", b"other"])))
    assert acts == [SendBlocks((b"other",))]
    state, acts = run(state, Answered(Lane.READINGS, m.BlocksTaken(1, [b"h"])))
    assert acts == []
    assert state.lost == (b"h",)


def test_a_tower_that_gave_blocks_up_asks_for_the_next_ones_and_says_how_many() -> None:
    state, _ = run(up(Backlog(Place(1, 5), 7)), Answered(Lane.FACTS, m.Taken(Place(1, 5), [b"h"])))
    state, acts = run(state, Answered(Lane.READINGS, m.ParcelsTaken(6, [b"h"])))
    assert acts == [SendBlocks((b"h",))]
    state, acts = run(state, Answered(Lane.READINGS, m.BlocksTaken(0, [b"next"], lost=1)))
    assert acts == [SendBlocks((b"next",))]
    state, acts = run(state, Answered(Lane.READINGS, m.BlocksTaken(1, [], lost=1)))
    assert acts == [SendParcels(6)]
    assert (state.missing, state.lost) == (1, ())


def test_an_answer_to_what_named_no_block_says_nothing_of_those_that_are_wanted() -> None:
    state = msgspec.structs.replace(up(), wanted=(b"h",))
    state, acts = run(state, Answered(Lane.READINGS, m.BlocksTaken(0, [b"h"])))
    assert acts == [SendBlocks((b"h",))]
    assert state.lost == ()


def test_a_checkpoint_is_witnessed_when_the_tower_has_what_it_covers() -> None:
    backlog = Backlog(Place(1, 9), 0, Place(1, 8))
    state, acts = run(up(), Looked(backlog))
    assert kinds(acts) == [SendFacts]
    state, acts = run(state, Answered(Lane.FACTS, m.Taken(Place(1, 9))))
    assert acts == [SendCosign(0)]
    state, acts = run(state, Answered(Lane.PROOF, m.Refused(Code.OLD_SIZE, "", {"size": 6})))
    assert acts == [SendCosign(6)]
    state, acts = run(state, Answered(Lane.PROOF, m.Cosigned(1, 8, "line")))
    assert (acts, state.witnessed) == ([], Place(1, 8))


def test_a_gap_is_filled_from_where_the_tower_stands() -> None:
    state, _ = run(up(), Looked(Backlog(Place(1, 9))))
    _, acts = run(state, Answered(Lane.FACTS, m.Refused(Code.GAP, "", {"epoch": 1, "seq": 2})))
    assert acts == [SendFacts(Place(1, 2), 2_000, 7)]


@pytest.mark.parametrize("code", sorted(FOR_GOOD))
def test_what_is_refused_for_good_stops_all_but_the_greeting(code: str) -> None:
    state, _ = run(up(), Looked(Backlog(Place(1, 9), 4)))
    state, acts = run(state, Answered(Lane.FACTS, m.Refused(code, "no")))
    assert (acts, state.phase, state.code) == ([], Phase.BARRED, code)
    state, acts = run(state, Looked(Backlog(Place(1, 20), 5)), now_us=NOW + SECOND_US // 10)
    assert acts == []
    state, acts = run(state, Looked(Backlog(Place(1, 20), 5)), now_us=NOW + SECOND_US)
    assert acts == [SayHello()]
    state, acts = run(state, Answered(Lane.FACTS, WELCOME), now_us=NOW + SECOND_US)
    assert (state.phase, state.offline_since_us) == (Phase.UP, None)


def test_a_barred_node_greets_soon_at_first_then_ever_less_often_and_at_least_once_a_minute() -> None:
    now_us, waits = NOW, []
    state, _ = run(up(), Looked(Backlog(Place(1, 9))))
    for _ in range(12):
        state, _ = run(
            state, Answered(Lane.FACTS, m.Refused(Code.QUARANTINED, "a person chooses")), now_us=now_us
        )
        due_us = state.lane(Lane.FACTS).not_before_us
        waits.append((due_us - now_us) / SECOND_US)
        now_us = due_us
        state, acts = run(state, Looked(Backlog(Place(1, 9))), now_us=now_us)
        assert acts == [SayHello()]
    assert waits[0] <= 0.5
    assert max(waits) <= 60
    assert min(waits[8:]) >= 30
    assert sum(waits[:5]) < 20, "who chooses within seconds waits for seconds"


@pytest.mark.parametrize("lane", [Lane.FACTS, Lane.READINGS])
def test_to_be_greeted_and_refused_the_same_again_is_done_ever_less_often(lane: Lane) -> None:
    """The greeting is good, and what is sent then is another site's: once that came around twice a second."""
    now_us, waits = NOW, []
    state, _ = run(up(), Looked(Backlog(Place(1, 9), 4)))
    for _ in range(12):
        refused = Answered(lane, m.Refused(Code.NOT_YOURS, "another site's"))
        if lane is Lane.READINGS:
            state, _ = run(state, Answered(Lane.FACTS, m.Taken(Place(1, 9))), now_us=now_us)
        state, _ = run(state, refused, now_us=now_us)
        due_us = state.lane(Lane.FACTS).not_before_us
        waits.append((due_us - now_us) / SECOND_US)
        now_us = due_us
        state, acts = step(state, Looked(Backlog(Place(1, 9), 4)), now_us)
        assert acts == [SayHello()]
        state, _ = step(state, Answered(Lane.FACTS, WELCOME), now_us)
        assert (state.phase, state.code) == (Phase.UP, "")
    assert waits[0] <= 0.5
    assert min(waits[8:]) >= 30
    taken = m.Taken(Place(1, 9)) if lane is Lane.FACTS else m.ParcelsTaken(4)
    state, _ = step(state, Answered(lane, taken), now_us)
    assert (state.bars, state.barred_by) == (0, ""), "taken at last: from now on soon again"


def test_a_quarantine_that_ended_leaves_no_wait_behind() -> None:
    state, _ = run(up(), Looked(Backlog(Place(1, 9))))
    for _ in range(9):
        state, _ = run(state, Answered(Lane.FACTS, m.Refused(Code.QUARANTINED, "a person chooses")))
    state, acts = step(begun_anew(state), Looked(Backlog(Place(1, 9))), NOW)
    assert acts == [SayHello()]
    state, _ = step(state, Answered(Lane.FACTS, m.Refused(Code.QUARANTINED, "once more")), NOW)
    assert state.lane(Lane.FACTS).not_before_us <= NOW + SECOND_US // 2


def test_a_busy_tower_is_given_the_time_it_asks_for() -> None:
    state, _ = run(up(), Looked(Backlog(Place(1, 9))))
    state, acts = run(state, Answered(Lane.FACTS, m.Refused(Code.BUSY, "", {"wait_ms": 2_000})))
    assert (acts, due_us(state)) == ([], NOW + 2 * SECOND_US)
    _, acts = run(state, Looked(Backlog(Place(1, 9))), now_us=NOW + 2 * SECOND_US)
    assert kinds(acts) == [SendFacts]


def test_the_towers_pace_is_kept() -> None:
    state, _ = run(up(), Looked(Backlog(Place(1, 9))))
    state, acts = run(state, Answered(Lane.FACTS, m.Taken(Place(1, 6), [], Pace(500, 100))))
    assert acts == []
    _, acts = run(state, Looked(Backlog(Place(1, 9))), now_us=NOW + SECOND_US)
    assert acts == [SendFacts(Place(1, 6), 100, 3)]


def test_a_batch_that_is_too_large_is_halved() -> None:
    state, _ = run(up(), Looked(Backlog(Place(1, 9))))
    _, acts = run(state, Answered(Lane.FACTS, m.Refused(Code.TOO_LARGE, "")))
    assert acts == [SendFacts(Place(1, 5), 1_000, 4)]


def test_a_cap_on_bytes_is_kept_and_the_facts_go_first() -> None:
    state = up(bucket=Bucket(1_000, 0.0, NOW))
    state, _ = run(state, Looked(Backlog(Place(1, 9))))
    state, acts = run(state, Answered(Lane.FACTS, m.Taken(Place(1, 7)), sent_bytes=3_000))
    assert acts == []
    assert due_us(state) == NOW + 3 * SECOND_US + 1
    _, acts = run(state, Looked(Backlog(Place(1, 9), 4)), now_us=NOW + 3 * SECOND_US + 1)
    assert kinds(acts) == [SendFacts, SendParcels]


def test_a_lost_line_is_greeted_again_after_ever_longer_waits() -> None:
    state, _ = run(up(), Looked(Backlog(Place(1, 9))))
    now_us, waits = NOW, []
    state, acts = run(state, Failed(Lane.FACTS, "no route"), now_us=now_us)
    assert (acts, state.phase, state.offline_since_us) == ([], Phase.DOWN, NOW)
    for _ in range(12):
        due = due_us(state)
        assert due is not None
        waits.append(due - now_us)
        now_us = due
        state, acts = run(state, Looked(Backlog(Place(1, 9))), now_us=now_us)
        assert acts == [SayHello()]
        state, _ = run(state, Failed(Lane.FACTS, "no route"), now_us=now_us)
    assert waits[0] <= SECOND_US / 2
    assert max(waits) <= BACKOFF_MAX_US
    assert sorted(waits)[-3:] != waits[:3]
    assert state.offline_since_us == NOW


def test_a_wait_that_is_over_wakes_nobody_where_there_is_nothing_to_do() -> None:
    state, _ = run(up(Backlog(Place(1, 5), 4)), Failed(Lane.READINGS, "timeout"))
    state, _ = run(state, Failed(Lane.FEED, "no route"))
    state, _ = run(state, Looked(Backlog(Place(1, 5), 4)), now_us=NOW + SECOND_US)
    assert state.phase is Phase.GREETING
    assert due_us(state) is None


def test_readings_that_fail_do_not_stop_the_facts() -> None:
    state, _ = run(up(), Looked(Backlog(Place(1, 9), 4)))
    state, _ = run(state, Failed(Lane.READINGS, "timeout"))
    assert state.phase is Phase.UP
    _, acts = run(state, Answered(Lane.FACTS, m.Taken(Place(1, 6))))
    assert kinds(acts) == [SendFacts]


def test_a_tower_that_answers_polls_at_once_with_nothing_is_not_flooded() -> None:
    state, acts = run(up(), Answered(Lane.FEED, m.FeedPart(1, None)))
    assert acts == []
    _, acts = run(state, Looked(Backlog()), now_us=NOW + 2 * SECOND_US)
    assert acts == [AskFeed()]


def test_an_answer_from_before_the_last_greeting_does_not_end_the_talk() -> None:
    state = up()
    state = msgspec.structs.replace(state, greeted_us=NOW + 5)
    state, acts = run(state, Answered(Lane.FEED, m.Refused(Code.GREET, "old ticket")), now_us=NOW + 6)
    assert (state.phase, acts) == (Phase.UP, [AskFeed()])


# --- Laws -------------------------------------------------------------------------

answers = st.sampled_from(
    [
        WELCOME,
        m.Taken(Place(1, 7)),
        m.Taken(Place(1, 9), [b"h"]),
        m.FeedPart(1, None),
        m.ParcelsTaken(2),
        m.BlocksTaken(0, [b"h"]),
        m.Cosigned(1, 3, "line"),
        m.Told("x", b""),
        *(m.Refused(code, "") for code in Code.ALL),
        m.Refused(Code.GAP, "", {"epoch": "x", "seq": -4}),
        m.Refused(Code.BUSY, "", {"wait_ms": 10**30}),
    ]
)
tolds = st.lists(
    st.tuples(
        st.one_of(
            st.builds(
                Looked,
                st.builds(
                    Backlog,
                    st.builds(Place, st.just(1), st.integers(0, 20)),
                    st.integers(0, 4),
                    st.builds(Place, st.just(1), st.integers(0, 9)),
                ),
            ),
            st.builds(Answered, st.sampled_from(Lane), answers, st.integers(0, 5_000)),
            st.builds(Failed, st.sampled_from(Lane), st.just("lost")),
        ),
        st.integers(0, 100_000_000),
    ),
    max_size=30,
)


@given(tolds, st.sampled_from([0, 1_000]))
def test_whatever_it_is_told_a_lane_never_has_two_requests(history: list[tuple[Told, int]], cap: int) -> None:
    state, now_us = State(site_id="ATL1", bucket=Bucket(cap, 0.0, NOW)), NOW
    under_way: set[Lane] = set()
    for told, after_us in history:
        now_us += after_us
        if not isinstance(told, Looked):
            if told.lane not in under_way:
                continue
            under_way.discard(told.lane)
        state, acts = step(state, told, now_us)
        for act in acts:
            assert act.lane not in under_way
            under_way.add(act.lane)
            assert state.phase is Phase.UP or isinstance(act, SayHello)
        assert under_way == {lane for lane, one in state.lanes.items() if one.busy}
        due = due_us(state)
        assert due is None or due > now_us, "whoever waits until it is due would not wait at all"


@given(st.integers(1, 10_000), st.text(max_size=5))
def test_a_backoff_is_bounded_and_repeats(failures: int, seed: str) -> None:
    wait_us = backoff_us(failures, seed)
    assert 0 < wait_us <= BACKOFF_MAX_US
    assert wait_us == backoff_us(failures, seed)


@given(st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 2_000_000)), max_size=20))
def test_never_more_than_the_cap_is_sent_over_time(sent: list[tuple[int, int]]) -> None:
    bucket, now_us, total = Bucket(1_000, 0.0, 0), 0, 0
    for count, after_us in sent:
        now_us += after_us
        if not bucket.wait_us(now_us):
            bucket, total = bucket.spent(count, now_us), total + count
    assert total <= 1_000 * now_us / SECOND_US + 1_000 + 3_000


def test_a_tower_that_has_more_than_was_noted_here_is_sent_nothing() -> None:
    state = up(place=Place(1, 9))
    _, acts = run(state, Looked(Backlog(Place(1, 7))))
    assert SendFacts not in kinds(acts)
    _, acts = run(state, Looked(Backlog(Place(1, 10))))
    assert SendFacts in kinds(acts)

"""Engine: what a node sends when, and what it makes of the answers. Pure: no clock, no socket, no database.

Invariants
    N1  At most one request is under way in each lane; an answer is looked at once.
    N2  Places come from the tower's answers alone: a node that forgot everything goes on where it was.
    N3  Facts go before proofs, proofs before readings; the feed has a lane of its own.
    N4  What the tower refuses for good (a fork, a clone, a certificate) stops every lane but the greeting,
        which is said ever less often until what was refused is taken: to be greeted is not enough.

`step(state, told, now_us)` gives the next state and what to do. The same code runs over TLS, in the simulator
and in the tests; `carrier` turns what is to be done into frames.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from coldgrid.sync import messages as m
from coldgrid.sync.acts import (
    AHEAD_FROM_S,
    FACTS_FIRST,
    Act,
    Answered,
    AskFeed,
    Failed,
    Lane,
    LaneState,
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
from coldgrid.sync.messages import ENTRIES_MAX, Code, Pace, Place
from coldgrid.sync.pace import SECOND_US, backoff_us

# A tower that answers a poll at once with nothing is not asked again at once.
POLL_AGAIN_US = SECOND_US
# A batch of fewer says little of how fast the tower takes facts.
RATED_FROM = 50
FOR_GOOD = frozenset(
    {
        *(Code.VERSION, Code.NOT_YOURS, Code.FORKED, Code.REWOUND, Code.CLONED),
        *(Code.QUARANTINED, Code.CHOSEN, Code.REVOKED, Code.PAST),
    }
)

# --- The step ----------------------------------------------------------------------


def step(state: State, told: Told, now_us: int) -> tuple[State, list[Act]]:
    """Take notice of something and say what to do now."""
    match told:
        case Looked():
            state = _with(state, backlog=told.backlog)
        case Failed():
            state = _failed(state, told, now_us)
        case Answered():
            asked = state.lane(told.lane)
            state = _with(_idle(state, told.lane), bucket=state.bucket.spent(told.sent_bytes, now_us))
            state = _answered(state, told, asked, now_us)
    return _plan(state, now_us)


def begun_anew(state: State) -> State:
    """Return a state that greets at once: the quarantine is over, and the tower may have another copy."""
    lanes = {lane: one if one.busy else LaneState() for lane, one in state.lanes.items()}
    state = _with(state, phase=Phase.DOWN, place=Place(), witnessed=Place(), code="", why="", lanes=lanes)
    return _with(state, bars=0, barred_by="")


def due_us(state: State) -> int | None:
    """Return when to step again though nothing happened; None: not before something does."""
    waits = [one.not_before_us for one in state.lanes.values() if not one.busy and one.not_before_us]
    if state.bucket.bytes_per_s and state.bucket.saved < 0:
        waits.append(state.bucket.at_us + state.bucket.wait_us(state.bucket.at_us))
    return min(waits, default=None)


def _with(state: State, **changes: object) -> State:
    return msgspec.structs.replace(state, **changes)


def _lane(state: State, lane: Lane, **changes: object) -> State:
    changed = msgspec.structs.replace(state.lane(lane), **changes)
    return _with(state, lanes={**state.lanes, lane: changed})


def _idle(state: State, lane: Lane) -> State:
    return _lane(state, lane, busy=False, failures=0, not_before_us=0)


# --- Failures ----------------------------------------------------------------------


def _failed(state: State, told: Failed, now_us: int) -> State:
    failures = state.lane(told.lane).failures + 1
    wait_us = backoff_us(failures, f"{state.site_id}/{told.lane}")
    state = _lane(state, told.lane, busy=False, failures=failures, not_before_us=now_us + wait_us)
    if told.lane not in (Lane.FACTS, Lane.FEED) or state.phase is Phase.BARRED:
        return _with(state, why=told.why)
    return _down(_with(state, why=told.why), now_us)


def _down(state: State, now_us: int) -> State:
    """The tower does not answer: greet it again, each time after a longer wait."""
    if state.phase is Phase.DOWN and state.offline_since_us is not None and state.lane(Lane.FACTS).busy:
        return state
    failures = state.failures + 1
    since = now_us if state.offline_since_us is None else state.offline_since_us
    state = _with(state, phase=Phase.DOWN, offline_since_us=since, failures=failures)
    return _lane(state, Lane.FACTS, not_before_us=now_us + backoff_us(failures, state.site_id))


# --- Answers -----------------------------------------------------------------------


def _answered(state: State, told: Answered, asked: LaneState, now_us: int) -> State:
    answer = _ANSWERS.get(type(told.message))
    if answer is None:
        return _failed(state, Failed(told.lane, f"{type(told.message).__name__} is no answer"), now_us)
    taken = type(told.message) not in (m.Refused, m.Welcome, m.Heard) and told.lane == state.barred_by
    return answer(_with(state, bars=0, barred_by="") if taken else state, told, asked, now_us)


def _taken(state: State, told: Answered, asked: LaneState, now_us: int) -> State:
    message = told.message
    assert isinstance(message, m.Taken)
    taken = message.place.seq - state.place.seq if message.place.epoch == state.place.epoch else 0
    if taken >= RATED_FROM and now_us > asked.since_us:
        rate = taken * SECOND_US / (now_us - asked.since_us)
        state = _with(state, rate_per_s=(state.rate_per_s + rate) / 2)
    state = _with(state, place=message.place, overlap=False, pace=message.pace, code="", why="")
    return _paced(_wanting(state, message.wanted), told.lane, message.pace, now_us)


def _fed(state: State, told: Answered, asked: LaneState, now_us: int) -> State:
    assert isinstance(told.message, m.FeedPart)
    if told.message.columns is None and now_us - asked.since_us < POLL_AGAIN_US:
        return _lane(state, Lane.FEED, not_before_us=now_us + POLL_AGAIN_US)
    return state


def _parcels_taken(state: State, told: Answered, asked: LaneState, now_us: int) -> State:
    message = told.message
    assert isinstance(message, m.ParcelsTaken)
    state = _with(state, parcel_no=message.parcel_no, pace=message.pace)
    return _paced(_wanting(state, message.wanted), told.lane, message.pace, now_us)


def _cosigned(state: State, told: Answered, asked: LaneState, now_us: int) -> State:
    assert isinstance(told.message, m.Cosigned)
    return _with(state, witnessed=Place(told.message.epoch, told.message.size))


def _heard(state: State, told: Answered, asked: LaneState, now_us: int) -> State:
    assert isinstance(told.message, m.Heard)
    return _paced(_with(state, pace=told.message.pace), told.lane, told.message.pace, now_us)


def _wanting(state: State, wanted: list[bytes]) -> State:
    """Note what is asked for, but for blocks that this node was found not to have."""
    there = tuple(name for name in wanted if name not in state.lost)
    return _with(state, wanted=there) if there else state


def _welcomed(state: State, told: Answered, asked: LaneState, now_us: int) -> State:
    message = told.message
    assert isinstance(message, m.Welcome)
    return _with(
        state,
        phase=Phase.UP,
        offline_since_us=None,
        greeted_us=now_us,
        failures=0,
        bars=state.bars if state.barred_by else 0,
        ticket=message.ticket,
        place=message.place,
        ahead=Place(),
        ahead_us=0,
        overlap=message.place.seq > 0,
        parcel_no=message.parcel_no,
        ask_wanted=True,
        lost=(),
        pace=message.pace,
        tower_ahead_us=message.now_us - now_us,
        code="",
        why="",
        lanes={lane: one if one.busy else LaneState() for lane, one in state.lanes.items()},
    )


def _blocks_taken(state: State, told: Answered, asked: LaneState, now_us: int) -> State:
    message = told.message
    assert isinstance(message, m.BlocksTaken)
    wanted = tuple(name for name in message.wanted if name not in state.lost)
    stuck = bool(wanted) and not message.taken and wanted == state.sent
    state = _with(state, wanted=wanted, pace=message.pace, missing=message.lost)
    if (
        stuck
    ):  # a tower of the release before goes on asking for what this disk lost: what is fresh does not wait
        state = _with(state, wanted=(), lost=(*state.lost, *wanted))
    return _paced(state, Lane.READINGS, message.pace, now_us)


def _paced(state: State, lane: Lane, pace: Pace, now_us: int) -> State:
    if not pace.wait_ms:
        return state
    return _lane(state, lane, not_before_us=now_us + pace.wait_ms * 1_000)


# --- Refusals ----------------------------------------------------------------------


def _refused(state: State, told: Answered, asked: LaneState, now_us: int) -> State:
    refused = told.message
    assert isinstance(refused, m.Refused)
    if refused.code == Code.GREET and asked.since_us < state.greeted_us:
        return state  # it was asked before the last greeting
    state = _with(state, code=refused.code, why=refused.why)
    if refused.code in FOR_GOOD:
        since = now_us if state.offline_since_us is None else state.offline_since_us
        by = state.barred_by or (told.lane if state.phase is Phase.UP else "")
        bars = state.bars + 1
        state = _with(state, phase=Phase.BARRED, offline_since_us=since, bars=bars, barred_by=by)
        # Soon again at first: whoever looks into it now should see what they choose carried out at once.
        return _lane(state, Lane.FACTS, not_before_us=now_us + backoff_us(bars, state.site_id))
    way = _REFUSALS.get((refused.code, told.lane)) or _REFUSALS.get((refused.code, None))
    changed = way(state, refused) if way is not None else state
    if changed is None or way is None:
        return _again_later(_greet_later(state), told.lane, asked, now_us)
    wait_us = _number(refused, "wait_ms", 0) * 1_000
    return _lane(changed, told.lane, not_before_us=now_us + wait_us) if wait_us else changed


def _number(refused: m.Refused, name: str, otherwise: int) -> int:
    found = refused.facts.get(name)
    return found if isinstance(found, int) and 0 <= found < 2**53 else otherwise


def _greet_again(state: State, refused: m.Refused) -> State | None:
    counted = _number(refused, "number", 0)
    if counted > state.counted:  # the tower counted more greetings than this disk knows of: go on from there
        return _with(state, phase=Phase.DOWN, counted=counted)
    return None if state.phase is Phase.GREETING else _with(state, phase=Phase.DOWN)


def _go_on_from(state: State, refused: m.Refused) -> State | None:
    place = Place(_number(refused, "epoch", 1), _number(refused, "seq", 0))
    return None if place == state.place else _with(state, place=place, overlap=False)


def _prove_from(state: State, refused: m.Refused) -> State | None:
    known = Place(state.backlog.checkpoint.epoch, _number(refused, "size", 0))
    return None if known == state.witnessed else _with(state, witnessed=known)


def _wait(state: State, refused: m.Refused) -> State | None:
    return _greet_later(state) if refused.facts.get("wait_ms") else None


def _send_fewer(state: State, refused: m.Refused) -> State | None:
    return _with(state, pace=Pace(state.pace.wait_ms, max(1, state.pace.entries_max // 2)))


def _greet_later(state: State) -> State:
    """A greeting that was put off is said again; in every other phase nothing changes."""
    return _with(state, phase=Phase.DOWN) if state.phase is Phase.GREETING else state


def _again_later(state: State, lane: Lane, asked: LaneState, now_us: int) -> State:
    failures = asked.failures + 1
    wait_us = backoff_us(failures, f"{state.site_id}/{lane}")
    return _lane(state, lane, failures=failures, not_before_us=now_us + wait_us)


_ANSWERS: dict[type, Callable[[State, Answered, LaneState, int], State]] = {
    m.Refused: _refused,
    m.Welcome: _welcomed,
    m.Taken: _taken,
    m.FeedPart: _fed,
    m.ParcelsTaken: _parcels_taken,
    m.BlocksTaken: _blocks_taken,
    m.Cosigned: _cosigned,
    m.Heard: _heard,
}
# None: nothing that the engine can change; try again later.
_REFUSALS: dict[tuple[str, Lane | None], Callable[[State, m.Refused], State | None]] = {
    (Code.GREET, None): _greet_again,
    (Code.GAP, Lane.FACTS): _go_on_from,
    (Code.OLD_SIZE, Lane.PROOF): _prove_from,
    (Code.BUSY, None): _wait,
    (Code.TOO_LARGE, None): _send_fewer,
}


# --- Planning ----------------------------------------------------------------------


def _plan(state: State, now_us: int) -> tuple[State, list[Act]]:
    """Say what each idle lane does now (N1, N3). A wait that is over is forgotten: `due_us` lies ahead."""
    acts: list[Act] = []
    state = _with(state, bucket=state.bucket.filled(now_us))
    for lane in Lane:
        one = state.lane(lane)
        if one.busy or one.not_before_us > now_us:
            continue
        if one.not_before_us:
            state = _lane(state, lane, not_before_us=0)
        act = _next(state, lane, now_us)
        if act is None:
            continue
        acts.append(act)
        state = _lane(state, lane, busy=True, since_us=now_us)
        if isinstance(act, SayHello):
            state = _with(state, phase=state.phase if state.phase is Phase.BARRED else Phase.GREETING)
        elif isinstance(act, SendAhead):
            state = _with(state, ahead=state.backlog.head, ahead_us=now_us)
        elif isinstance(act, SendBlocks):
            state = _with(state, ask_wanted=state.ask_wanted and bool(act.hashes), sent=act.hashes)
    return state, acts


def _next(state: State, lane: Lane, now_us: int) -> Act | None:
    if state.phase is not Phase.UP:
        greets = lane is Lane.FACTS and state.phase in (Phase.DOWN, Phase.BARRED)
        return SayHello() if greets else None
    if lane is Lane.FEED:
        return AskFeed()
    if state.bucket.wait_us(now_us):
        return None
    if lane is Lane.FACTS:
        return _next_facts(state, now_us)
    if lane is Lane.PROOF:
        return _next_proof(state)
    return _next_readings(state)


def _next_facts(state: State, now_us: int) -> Act | None:
    # The tower may have said more than was noted here of the log's end: then there is nothing to send yet.
    if state.place >= state.backlog.head or not state.backlog.head.seq:
        return None
    due = not state.ahead_us or now_us - state.ahead_us >= AHEAD_FROM_S * SECOND_US
    if due and state.late() and state.ahead < state.backlog.head:
        return SendAhead(max(state.place, state.ahead))
    place = Place(state.place.epoch, state.place.seq - 1) if state.overlap else state.place
    return SendFacts(place, min(state.pace.entries_max, ENTRIES_MAX), state.behind())


def _next_proof(state: State) -> Act | None:
    made = state.backlog.checkpoint
    if made.seq and made > state.witnessed and state.place >= made:
        return SendCosign(state.witnessed.seq if state.witnessed.epoch == made.epoch else 0)
    return None


def _next_readings(state: State) -> Act | None:
    if state.behind() > FACTS_FIRST:
        return None
    if state.wanted:
        return SendBlocks(state.wanted)
    if state.backlog.parcel_no > state.parcel_no:
        return SendParcels(state.parcel_no)
    return SendBlocks(()) if state.ask_wanted else None

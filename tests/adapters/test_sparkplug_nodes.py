"""Edge nodes: births, deaths, gaps, replays and what nobody may be misled by. No sockets."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldgrid.adapters import sparkplug_nodes as nodes
from coldgrid.adapters import sparkplug_payload as sp
from coldgrid.adapters.driving import Heard
from coldgrid.adapters.sparkplug_nodes import Edges, Outcome
from coldgrid.adapters.sparkplug_payload import Metric
from coldgrid.adapters.sparkplug_topics import topic_of
from tests.adapters.sparkplug_edge import bare, bd, real
from tests.adapters.test_sparkplug_payload import DBIRTH, DDATA, NBIRTH, NDEATH

T = 1_772_352_000_000
NOW_US = T * 1_000 + 5_000
POINT = "Stores/rack-1/case-4/air"


class Peer:
    """Says what an edge node says; keeps what was made of it."""

    def __init__(self, edges: Edges | None = None) -> None:
        self.edges = edges or Edges()
        self.seq = 0
        self.now_s = 100.0
        self.at_ms = T

    def say(
        self, kind: str, metrics: Sequence[Metric] = (), seq: int | None = -1, at_ms: int | None = None
    ) -> Outcome:
        """Send a message; `seq` -1: the next one, None: none."""
        if seq == -1:
            seq = self.seq = 0 if kind == "NBIRTH" else (self.seq + 1) % 256
        elif seq is not None:
            self.seq = seq
        self.at_ms += 1
        place = "rack-1" if kind.startswith("N") else "rack-1/case-4"
        data = sp.encode(self.at_ms if at_ms is None else at_ms, metrics, seq=seq)
        return self.raw(f"spBv1.0/Stores/{kind}/{place}", data)

    def raw(self, topic: str, data: bytes) -> Outcome:
        self.now_s += 0.01
        return self.edges.hear(topic, data, NOW_US, self.now_s)

    def node_birth(self, session: int = 0, at_ms: int | None = None) -> Outcome:
        return self.say("NBIRTH", [bd(session)], at_ms=at_ms)

    def born(self, *declared: Metric) -> Outcome:
        self.node_birth()
        return self.say("DBIRTH", declared or [real("air", -20.0, 1, unit="°C"), real("coil", -28.0, 2)])


def values(outcome: Outcome) -> list[tuple[str, float]]:
    return [(heard.point.rpartition("/")[2], heard.value) for heard in outcome.haul.readings]


def whys(outcome: Outcome) -> str:
    return " | ".join(told.why for told in outcome.haul.unreadable)


# --- What is said in order ----------------------------------------------------------


def test_a_birth_declares_points_and_brings_their_values() -> None:
    born = Peer().born()
    assert born.haul.readings[0] == Heard(POINT, -20.0, "C", (T + 2) * 1_000, NOW_US)
    assert values(born) == [("air", -20.0), ("coil", -28.0)]
    assert [(note.device, note.online) for note in born.haul.notes] == [("Stores/rack-1/case-4", True)]


def test_a_value_by_its_alias_is_what_the_birth_called_it() -> None:
    peer = Peer()
    peer.born()
    said = peer.say("DDATA", [bare(1, -19.5, at_ms=T + 500)])
    assert said.haul.readings == [Heard(POINT, -19.5, "C", (T + 500) * 1_000, NOW_US)]
    assert not said.ask


def test_a_value_without_a_time_of_its_own_has_that_of_its_message() -> None:
    peer = Peer()
    peer.born()
    wire = sp._WIRE(timestamp=T + 900, seq=2)  # noqa: SLF001 (a metric that says no time of its own)
    wire.metrics.add(alias=1, double_value=-1.0)
    said = peer.raw("spBv1.0/Stores/DDATA/rack-1/case-4", wire.SerializeToString())
    assert said.haul.readings[0].device_at_us == (T + 900) * 1_000


def test_what_a_device_kept_is_told_as_historical() -> None:
    peer = Peer()
    peer.born()
    said = peer.say("DDATA", [bare(1, -3.0, historical=True, at_ms=T - 60_000), bare(1, -19.0)])
    assert [heard.historical for heard in said.haul.readings] == [True, False]
    assert said.haul.readings[0].device_at_us == (T - 60_000) * 1_000


def test_an_independent_encoders_session_is_followed() -> None:
    peer = Peer()
    peer.raw("spBv1.0/Stores/NBIRTH/rack-1", NBIRTH)
    born = peer.raw("spBv1.0/Stores/DBIRTH/rack-1/case-4", DBIRTH)
    assert ("Return Air", -18.25) in values(born)
    said = peer.raw("spBv1.0/Stores/DDATA/rack-1/case-4", DDATA)
    assert values(said) == [("Return Air", -17.5), ("Door", 0.0), ("Return Air", -18.0)]
    assert not said.ask
    died = peer.raw("spBv1.0/Stores/NDEATH/rack-1", NDEATH)
    assert [note.online for note in died.haul.notes] == [False, False]


def test_seq_goes_round_after_255() -> None:
    peer = Peer()
    peer.born()
    for number in range(600):
        assert not peer.say("DDATA", [bare(1, number / 10)]).counts.get("gap")


# --- Deaths -------------------------------------------------------------------------


def test_a_death_makes_node_and_devices_silent_and_no_value() -> None:
    peer = Peer()
    peer.born()
    died = peer.say("NDEATH", [bd(0)], seq=None)
    assert {note.device: note.online for note in died.haul.notes} == {
        "Stores/rack-1": False,
        "Stores/rack-1/case-4": False,
    }
    assert not died.haul.readings


def test_a_death_of_an_earlier_session_is_passed_over() -> None:
    peer = Peer()
    peer.node_birth(session=4)
    died = peer.say("NDEATH", [bd(3)], seq=None)
    assert not died.haul.notes
    assert died.counts == {"stale_death": 1}
    assert not peer.say("NDATA", []).ask


def test_a_devices_death_makes_it_alone_silent() -> None:
    peer = Peer()
    peer.born()
    died = peer.say("DDEATH")
    assert [(note.device, note.online) for note in died.haul.notes] == [("Stores/rack-1/case-4", False)]
    assert peer.say("DDATA", [bare(1, -5.0)]).ask


def test_a_null_is_told_and_never_a_value() -> None:
    peer = Peer()
    peer.born()
    said = peer.say("DDATA", [Metric(alias=1, null=True)])
    assert not said.haul.readings
    assert "is_null" in whys(said)


# --- What is missing ------------------------------------------------------------------


def test_values_before_any_birth_ask_for_one_and_wait_for_it_by_name() -> None:
    peer = Peer()
    early = peer.say("DDATA", [real("air", -18.0), bare(1, -17.0)], seq=9)
    assert not early.haul.readings
    assert [(topic.group, topic.node) for topic in early.ask] == [("Stores", "rack-1")]
    born = peer.born()
    assert values(born) == [("air", -20.0), ("coil", -28.0), ("air", -18.0)]
    assert "alias" in whys(born)
    assert born.counts["uncertain_alias"] == 1


def test_a_gap_asks_for_births_and_keeps_what_is_certain() -> None:
    peer = Peer()
    peer.born()
    said = peer.say("DDATA", [real("coil", -27.0), bare(1, -18.0)], seq=7)
    assert values(said) == [("coil", -27.0)]
    assert said.ask
    peer.node_birth()
    born = peer.say("DBIRTH", [real("air", -16.0, 1, unit="°C"), real("coil", -26.0, 2)])
    assert values(born) == [("air", -16.0), ("coil", -26.0), ("air", -18.0)]


def test_an_alias_that_changed_its_meaning_in_a_gap_is_refused() -> None:
    peer = Peer()
    peer.born()
    peer.say("DDATA", [bare(1, 1.0)], seq=7)
    peer.node_birth()
    born = peer.say("DBIRTH", [real("coil", -26.0, 1), real("air", -16.0, 2, unit="°C")])
    assert values(born) == [("coil", -26.0), ("air", -16.0)]
    assert born.counts["uncertain_alias"] == 1


def test_an_edge_node_is_not_asked_again_and_again() -> None:
    peer = Peer()
    asked = sum(bool(peer.say("DDATA", [bare(1, 1.0)], seq=number * 2 % 256).ask) for number in range(300))
    assert asked == 1
    peer.now_s += nodes.ASK_MIN_S
    assert peer.edges.tick(peer.now_s).ask
    peer.now_s += nodes.ASK_MIN_S
    assert not peer.edges.tick(peer.now_s).ask, "the second wait is twice the first one"
    peer.now_s += nodes.ASK_MIN_S
    assert peer.edges.tick(peer.now_s).ask
    assert peer.edges.waiting == ["Stores/rack-1"]


def test_what_waits_is_bounded_in_number_and_time() -> None:
    peer = Peer()
    for _ in range(3):
        flood = peer.say("DDATA", [real(f"m{index}", 1.0) for index in range(1_000)])
    assert flood.counts["never_explained"] == 1_000
    assert len(flood.haul.unreadable) <= 21
    peer.now_s += nodes.HELD_S + 1
    given_up = peer.edges.tick(peer.now_s)
    assert given_up.counts["never_explained"] == nodes.HELD_MAX
    assert "2000 values" in given_up.haul.unreadable[0].text
    assert not peer.born(real("m1", -1.0)).counts.get("unknown_metric")


def test_what_waits_is_left_with_the_broker_while_an_answer_is_likely_and_no_longer() -> None:
    peer = Peer()
    assert peer.say("DDATA", [bare(1, 1.0)]).waits
    assert peer.say("DDATA", [bare(1, 2.0)]).waits
    peer.now_s += nodes.PATIENT_S
    assert not peer.edges.patient(peer.now_s)
    assert not peer.say("DDATA", [bare(1, 3.0)]).waits
    peer.now_s += nodes.HELD_S
    peer.edges.tick(peer.now_s)
    assert not peer.say("DDATA", [bare(1, 4.0)]).waits, "it never answered: it holds up nobody again"
    peer.born()
    assert not peer.edges.patient(peer.now_s)
    assert peer.say("DDATA", [bare(1, 5.0)], seq=99).waits, "it answers"


def test_a_metric_that_no_birth_declared_is_refused_and_asked_for() -> None:
    peer = Peer()
    peer.born()
    said = peer.say("DDATA", [bare(99, 1.0), real("new", 2.0)])
    assert not said.haul.readings
    assert said.counts["unknown_metric"] == 2
    assert said.ask


def test_births_that_a_broker_kept_tell_what_aliases_meant_but_are_not_in_force() -> None:
    peer = Peer()
    kept = [real("air", -1.0, 1, unit="°C"), real("coil", -2.0, 2, unit="°C")]
    peer.edges.recall("spBv1.0/Stores/DBIRTH/rack-1/case-4", sp.encode(T - 1_000, kept, seq=1))
    peer.edges.recall("spBv1.0/Stores/DBIRTH/rack-1/case-4", b"\xff")
    peer.edges.recall("spBv1.0/Stores/DDATA/rack-1/case-4", sp.encode(T, kept, seq=2))
    early = peer.say("DDATA", [bare(1, -18.0), bare(2, -17.0)], seq=9)
    assert not early.haul.readings
    assert early.ask
    born = peer.born(real("air", -20.0, 1, unit="°C"), real("door", 0.0, 2))
    assert values(born) == [("air", -20.0), ("door", 0.0), ("air", -18.0)]
    assert born.counts["uncertain_alias"] == 1


# --- Replays and duplicates -------------------------------------------------------------


def test_the_same_message_again_changes_nothing() -> None:
    peer = Peer()
    peer.born()
    data = sp.encode(T + 50, [bare(1, -1.0)], seq=2)
    topic = "spBv1.0/Stores/DDATA/rack-1/case-4"
    assert len(peer.raw(topic, data).haul.readings) == 1
    again = peer.raw(topic, data)
    assert not again.haul.readings
    assert not again.ask
    peer.seq = 2
    assert not peer.say("DDATA", [bare(1, -2.0)]).ask


def test_a_replayed_birth_does_not_change_what_aliases_mean() -> None:
    peer = Peer()
    peer.at_ms = T - 1_000_000
    peer.born(real("coil", -28.0, 1), real("air", -20.0, 2, unit="°C"))
    old = sp.encode(T - 999_000, [bd(0)], seq=0)
    peer.at_ms = T
    peer.born()
    replayed = peer.raw("spBv1.0/Stores/NBIRTH/rack-1", old)
    assert replayed.counts["stale_birth"] == 1
    assert values(peer.say("DDATA", [bare(1, -19.0)])) == [("air", -19.0)]


def test_a_replayed_birth_of_a_device_does_not_either() -> None:
    peer = Peer()
    peer.born()
    old = sp.encode(T - 999_000, [real("coil", -1.0, 1)], seq=2)
    replayed = peer.raw("spBv1.0/Stores/DBIRTH/rack-1/case-4", old)
    assert "replay" in whys(replayed)
    peer.seq = 2
    assert values(peer.say("DDATA", [bare(1, -19.0)])) == [("air", -19.0)]


def test_an_edge_node_whose_clock_was_set_back_is_believed_when_it_answers() -> None:
    peer = Peer()
    peer.born()
    peer.at_ms = T - 86_400_000
    first = peer.node_birth(session=1)
    assert first.counts["stale_birth"] == 1
    assert first.ask
    second = peer.node_birth(session=1)
    assert second.counts["birth"] == 1
    assert values(peer.say("DBIRTH", [real("air", -9.0, 1)])) == [("air", -9.0)]


# --- Hostile and careless -----------------------------------------------------------------


def test_an_alias_given_twice_means_neither() -> None:
    peer = Peer()
    born = peer.born(real("air", -20.0, 5), real("coil", -28.0, 5))
    assert born.counts["alias_clash"] == 1
    assert values(born) == [("air", -20.0), ("coil", -28.0)]
    said = peer.say("DDATA", [bare(5, 1.0), real("air", 2.0)])
    assert values(said) == [("air", 2.0)]
    assert said.counts["alias_clash"] == 1


def test_too_many_points_are_told_once_and_not_kept() -> None:
    peer = Peer()
    peer.node_birth()
    born = peer.say("DBIRTH", [real(f"m{index}", 1.0, index) for index in range(1_200)])
    assert len(born.haul.readings) == 1_000
    assert born.counts["no_measurement"] >= 200
    assert len(born.haul.unreadable) == 21
    assert peer.say("DDATA", [bare(1_100, 1.0)]).counts == {"no_measurement": 1}


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        (Metric(name="x", datatype=16, kind="", alias=1), "DataSet is no single number"),
        (Metric(name="x", datatype=19, kind="", alias=1), "Template is no single number"),
        (Metric(name="x", datatype=99, kind="", alias=1), "datatype 99"),
        (real("x", 1.0, 1, unit="psi"), "'psi' is no unit known here"),
        (real("x" * 200, 1.0, 1), "characters; at most"),
        (real("a\x07b", 1.0, 1), "characters that are no text"),
    ],
)
def test_what_can_be_no_measurement_is_told_at_its_birth(metric: Metric, why: str) -> None:
    peer = Peer()
    born = peer.born(metric)
    assert why in whys(born)
    assert not born.haul.readings
    said = peer.say("DDATA", [bare(1, 4.0)])
    assert (said.haul.readings, said.haul.unreadable) == ([], [])


def test_words_are_no_measurements_and_no_mistakes() -> None:
    born = Peer().born(Metric(name="Model", datatype=12, alias=1), real("air", -20.0, 2))
    assert not born.haul.unreadable
    assert values(born) == [("air", -20.0)]


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        (bare(1, float("nan")), "nan is no number"),
        (bare(1, float("-inf")), "inf is no number"),
        (bare(1, 1e12), "too large"),
        (bare(1, 1.0, at_ms=2**62), "no"),
        (Metric(alias=1, kind="boolean_value", value=True), "boolean_value"),
        (bare(1, 1.0, datatype=sp.INT32), "was declared as Double"),
        (bare(1, 1.0, quality=0), "not good"),
    ],
)
def test_a_wrong_value_is_refused_with_its_reason(metric: Metric, why: str) -> None:
    peer = Peer()
    peer.born()
    said = peer.say("DDATA", [metric, bare(2, -3.0)])
    assert values(said) == [("coil", -3.0)]
    assert why in whys(said)


def test_a_kept_value_without_a_time_is_refused() -> None:
    peer = Peer()
    peer.born()
    said = peer.say("DDATA", [bare(1, 1.0, historical=True, at_ms=0)], at_ms=0)
    assert not said.haul.readings
    assert "its time None" in whys(said)


def test_messages_that_are_no_payload_are_told() -> None:
    peer = Peer()
    peer.born()
    told = peer.raw("spBv1.0/Stores/DDATA/rack-1/case-4", b"\xff\xff\xff")
    assert told.counts == {"malformed": 1}
    assert told.haul.unreadable[0].source.endswith("case-4")


def test_more_edge_nodes_than_there_can_be_are_refused() -> None:
    edges = Edges()
    for number in range(nodes.EDGES_MAX + 1):
        told = edges.hear(f"spBv1.0/g/NBIRTH/n{number}", sp.encode(T, [bd(0)], seq=0), NOW_US, 1.0)
    assert told.counts == {"too_many": 1}
    assert edges.online == nodes.EDGES_MAX


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "spBv1.0",
        "spBv1.0/g/NCMD/n",
        "spBv1.0/g/NBIRTH/n/d",
        "spBv1.0/g/DDATA/n",
        "spAv1.0/g/NDATA/n",
        "a/b/c/d",
    ],
)
def test_topics_that_a_host_does_not_read(topic: str) -> None:
    assert topic_of(topic) is None
    assert Edges().hear(topic, b"", NOW_US, 1.0).counts == {"unknown_topic": 1}


# --- Laws ---------------------------------------------------------------------------------

KINDS = ["NBIRTH", "NDEATH", "NDATA", "DBIRTH", "DDEATH", "DDATA"]
metric_like = st.builds(
    Metric,
    name=st.sampled_from(["", "air", "coil", "bdSeq"]),
    alias=st.none() | st.integers(0, 3),
    at_ms=st.none() | st.integers(0, 2**63),
    datatype=st.integers(0, 40),
    historical=st.booleans(),
    null=st.booleans(),
    kind=st.sampled_from(["double_value", "float_value"]),
    value=st.floats(width=32),
    unit=st.sampled_from(["", "°C", "bar"]),
)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(KINDS), st.lists(metric_like, max_size=4), st.integers(0, 4), st.integers(0, 3)
        ),
        max_size=25,
    )
)
def test_whatever_edge_nodes_say_only_declared_finite_values_pass(
    said: list[tuple[str, list[Metric], int, int]],
) -> None:
    peer = Peer()
    for kind, metrics, seq, session in said:
        outcome = peer.say(kind, [*metrics, bd(session)], seq=seq)
        for heard in outcome.haul.readings:
            assert heard.value == heard.value
            assert heard.point.startswith("Stores/rack-1/")
            assert heard.point.rpartition("/")[2] in {"air", "coil"}
            assert msgspec.json.encode(heard)
        assert len(outcome.haul.unreadable) <= 21


@given(st.text(max_size=60), st.binary(max_size=120))
def test_any_topic_and_bytes_are_taken(topic: str, data: bytes) -> None:
    outcome = Edges().hear(topic, data, NOW_US, 1.0)
    assert not outcome.haul.readings

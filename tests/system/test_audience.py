"""Audience: every type of event says who is told, and nobody is told of another site's customers."""

from __future__ import annotations

from coldgrid.kernel.audience import AUDIENCES, SITES_OWN, Told, rule_of
from coldgrid.kernel.events import Event, subclasses_of, tag_of
from coldgrid.tower.rooms import load_rooms

load_rooms()
TAGS = sorted(
    tag
    for class_ in subclasses_of(Event)
    if class_.__module__.startswith("coldgrid.") and (tag := class_.__struct_config__.tag) is not None
)


def test_every_type_of_event_says_who_is_told() -> None:
    for tag in TAGS:
        assert isinstance(rule_of(str(tag)), Told)


def test_the_table_names_no_type_that_is_not_there() -> None:
    rooms = {str(tag).partition(".")[0] for tag in TAGS}
    assert [tag for tag in AUDIENCES if tag.partition(".")[0] in rooms and tag not in TAGS] == []
    assert all(any(str(tag).startswith(prefix) for tag in TAGS) for prefix in SITES_OWN)


def test_what_is_told_to_the_events_own_site_names_one() -> None:
    for class_ in subclasses_of(Event):
        if class_.__module__.startswith("coldgrid.") and rule_of(tag_of(class_)) is Told.SITE:
            names = {"site_id", "log_origin", "site", "zone", "location", "sensor", "gateway"}
            assert names & set(class_.__struct_fields__), class_.__name__


def test_nothing_with_a_customer_in_it_goes_to_everyone() -> None:
    for tag, told in AUDIENCES.items():
        if tag.startswith(("orders.", "network_flows.", "stock.promise")):
            assert told in (Told.NOBODY, Told.NAMED), tag

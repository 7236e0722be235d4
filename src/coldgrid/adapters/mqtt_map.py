"""The map of an `mqtt` gateway: which topic and which field of its JSON is which point. Pure; needs no extra.

    topics:
      - topic: zigbee2mqtt/{device}          # {name} stands for one level; + for one that does not matter
        time: last_seen                      # where the device's own time stands; left out: it has none
        kept: backlog                        # true there: the device kept the reading and sends it later
        points:                              # points and health left out: every number, true or false is one
          - {path: temperature, unit: C}
          - {path: humidity, unit: "%"}
          - {path: contact, point: "{device}/door", unit: state, states: {"true": 0, "false": 1}}
          - {path: "power.total", unit: W, scale: 0.1, offset: 0}
        health: {device: "{device}", battery: battery, signal: rssi}
      - topic: zigbee2mqtt/{device}/availability
        health: {device: "{device}", online: state}

A path goes down objects by names and into lists by numbers, `channels[0].value`; empty is the whole payload.
A point's address is `{device}/PATH` of the topic's own first name unless `point` says otherwise. A time is
RFC 3339 with an offset, or seconds or milliseconds since 1970.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from coldgrid.adapters.device_map import Fields, Sheet
from coldgrid.kernel.rejections import Problem

TOPICS_MAX, POINTS_MAX = 50, 200
TOPIC_BYTES_MAX = 500
_LEVEL_NAME = re.compile(r"\{([a-z_]{1,20})\}", re.ASCII)
_STEP = re.compile(r"([^.\[\]]{1,60})|\[(\d{1,4})\]")
_PATH = re.compile(r"(?:[^.\[\]]{1,60}|\[\d{1,4}\])(?:\.[^.\[\]]{1,60}|\[\d{1,4}\])*")

Steps = tuple[str | int, ...]


class MappedPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a message: value × `scale` + `offset`, or what `states` makes of its text."""

    path: str
    steps: Steps
    point: str
    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0
    states: dict[str, float] = {}


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Where a device says how it is: which device, and where each thing stands; None: nowhere."""

    device: str
    battery: Steps | None = None
    signal: Steps | None = None
    online: Steps | None = None


class MappedTopic(msgspec.Struct, frozen=True, kw_only=True):
    """One template of topics. `points` None: every number is one."""

    topic: str
    levels: tuple[str, ...]
    points: tuple[MappedPoint, ...] | None = None
    time: Steps | None = None
    kept: Steps | None = None
    told: Told | None = None

    @property
    def filter(self) -> str:
        """What to subscribe to."""
        return "/".join("+" if _LEVEL_NAME.fullmatch(level) else level for level in self.levels)

    def match(self, topic: str) -> Mapping[str, str] | None:
        """Return the named levels of a topic that fits; None: it does not."""
        levels = topic.split("/")
        if len(levels) != len(self.levels):
            return None
        found: dict[str, str] = {}
        for level, wanted in zip(levels, self.levels, strict=True):
            named = _LEVEL_NAME.fullmatch(wanted)
            if named is not None:
                found[named[1]] = level
            elif wanted not in {level, "+"}:
                return None
        return found


class MqttMap(msgspec.Struct, frozen=True, kw_only=True):
    """What a map says."""

    topics: tuple[MappedTopic, ...]
    client_id: str = ""


def steps_of(path: str) -> Steps:
    """Return the steps of a path; empty: the whole payload."""
    return tuple(name or int(number) for name, number in _STEP.findall(path))


def read_map(text: str) -> tuple[MqttMap, list[Problem]]:
    """Read a map; total on any text."""
    sheet = Sheet(text)
    top = sheet.top
    topics = tuple(_topics(top))
    client_id = top.name("client_id", "")
    top.done()
    if not topics and not sheet.problems:
        sheet.wrong("topics", "names no topic", "add one, such as - topic: zigbee2mqtt/{device}")
    return MqttMap(topics=topics, client_id=client_id), sheet.problems


def problems_of_map(text: str) -> list[Problem]:
    """Return every problem of a map, with its line."""
    return read_map(text)[1]


def _topics(top: Fields) -> Iterator[MappedTopic]:
    for index, fields in enumerate(top.groups("topics")):
        if index >= TOPICS_MAX:
            fields.wrong("topic", f"is one of more than {TOPICS_MAX}", "share them out to two gateways")
            return
        topic = fields.text("topic", chars_max=TOPIC_BYTES_MAX)
        levels = tuple(topic.split("/"))
        names = _names(fields, levels)
        first = f"{{{names[0]}}}/" if names else ""
        yield MappedTopic(
            topic=topic,
            levels=levels,
            time=_steps(fields, "time"),
            kept=_steps(fields, "kept"),
            told=_told(fields, names) if fields.has("health") else None,
            points=_points(fields, names, first),
        )
        fields.done()


def _names(fields: Fields, levels: tuple[str, ...]) -> list[str]:
    """Return the names of levels; say what is wrong with the topic."""
    names = [match[1] for level in levels if (match := _LEVEL_NAME.fullmatch(level))]
    strange = [level for level in levels if any(char in level for char in "#+{}") and level != "+"]
    strange = [level for level in strange if _LEVEL_NAME.fullmatch(level) is None]
    if strange:
        fix = "a level is plain text, {name} or +"
        fields.wrong("topic", f"{strange[0][:60]!r} is no level of a template", fix)
    elif len(set(names)) != len(names):
        fields.wrong("topic", "names a level twice", "give each a name of its own")
    elif all(level == "+" for level in levels) or levels[0].startswith("$"):
        fields.wrong("topic", "would hear everything", "begin with the words that your devices begin with")
    return names


def _steps(fields: Fields, name: str) -> Steps | None:
    if not fields.has(name):
        fields.text(name, "")
        return None
    path = fields.text(name, "")
    if path and _PATH.fullmatch(path) is None:
        fields.wrong(name, f"{path[:60]!r} is no path", "write it as names and numbers: channels[0].value")
    return steps_of(path)


def _told(fields: Fields, names: list[str]) -> Told:
    group = fields.group("health")
    device = _template(group, "device", names, f"{{{names[0]}}}" if names else "")
    told = Told(
        device=device,
        battery=_steps(group, "battery"),
        signal=_steps(group, "signal"),
        online=_steps(group, "online"),
    )
    group.done()
    return told


def _points(fields: Fields, names: list[str], first: str) -> tuple[MappedPoint, ...] | None:
    if not fields.has("points"):
        fields.text("points", "")
        return () if fields.has("health") else None
    points = []
    for index, group in enumerate(fields.groups("points")):
        if index >= POINTS_MAX:
            group.wrong("path", f"is one of more than {POINTS_MAX}", "name another topic")
            break
        path = group.text("path", "")
        if path and _PATH.fullmatch(path) is None:
            group.wrong(
                "path", f"{path[:60]!r} is no path", "write it as names and numbers: channels[0].value"
            )
        points.append(
            MappedPoint(
                path=path,
                steps=steps_of(path),
                point=_template(group, "point", names, f"{first}{path or 'value'}"),
                unit=group.unit(),
                scale=group.number("scale", 1.0),
                offset=group.number("offset", 0.0),
                states=_states(group),
            )
        )
        group.done()
    return tuple(points)


def _states(group: Fields) -> dict[str, float]:
    states = group.group("states")
    told = taken(group.sheet.root, (*steps_of(group.path), "states"))
    found = {str(name): states.number(str(name), 0.0) for name in told} if isinstance(told, dict) else {}
    states.done()
    return found


def _template(fields: Fields, name: str, names: list[str], default: str) -> str:
    """Take a text in which {name} stands for a level of the topic."""
    text = fields.text(name, default)
    strange = [one for one in _LEVEL_NAME.findall(text) if one not in names]
    if strange:
        told = ", ".join(f"{{{one}}}" for one in names) or "none"
        fields.wrong(name, f"the topic has no level {{{strange[0]}}}", f"its levels: {told}")
    elif "{" in _LEVEL_NAME.sub("", text) or not text.isprintable() or not text:
        fields.wrong(name, "is no address", "write plain text and {name} of the topic's levels")
    return text


def filled(template: str, levels: Mapping[str, str]) -> str:
    """Return a template with the topic's levels in it."""
    return _LEVEL_NAME.sub(lambda match: levels.get(match[1], ""), template)


def taken(payload: Any, steps: Steps) -> Any:
    """Return what stands at a path; None: nothing does."""
    for step in steps:
        if isinstance(step, str) and isinstance(payload, dict):
            payload = payload.get(step)
        elif isinstance(step, int) and isinstance(payload, list) and step < len(payload):
            payload = payload[step]
        else:
            return None
    return payload

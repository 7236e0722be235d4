"""What the forms of the network's own items say beside their fields: what is meant, and one sound example.

An example uses names of its own and none of what a network may have: whoever copies it replaces them.
"""

from __future__ import annotations

from coldgrid.network.items import Example, FormHelp

TIME_ZONE = "Region and city, like America/New_York."
_AS_BELOW = "Each on a line that begins with -, as in the example below."

_SITE = {
    "site_id": "ATL2",
    "name": "Peachtree store",
    "site_kind": "store",
    "city": "Atlanta",
    "region": "GA",
    "lat": "33.76",
    "lon": "-84.39",
    "timezone": "America/New_York",
    "calendar": """hours:
  - {days: [mon, tue, wed, thu, fri, sat], opens: "07:00", closes: "22:00"}
  - {days: [sun], opens: "08:00", closes: "20:00"}
closures:
  - {on: 2026-12-25, why: Christmas Day}""",
    "cutoffs": """- {carrier: metro-cool, local_time: "18:30", days: [mon, tue, wed, thu, fri]}
- {carrier: metro-cool, local_time: "14:00", days: [sat]}""",
    "sla_tier": "silver",
    "capacity.frozen": "12",
    "capacity.chilled": "20",
    "escalation_group": "GRP-ATL2",
}
_GROUP = {
    "group_id": "GRP-ATL2",
    "name": "Peachtree store",
    "timezone": "America/New_York",
    "steps": """- {after_min: 0, rota: night}
- {after_min: 10, contacts: [{person_id: ana, channel: voice, address: "+14045550142"}]}""",
    "rotas": """- {name: night, starts_on: 2026-01-05, turn_days: 7, members: [ana, ben]}""",
    "people": """- {person_id: ana, channel: sms, address: "+14045550142", drive_min: 15}
- {person_id: ben, channel: sms, address: "+14045550143"}""",
}

SITE_HELP = FormHelp(
    hints={
        "region": "State or province, like GA.",
        "country": "Two letters, like US.",
        "lat": "Degrees, south with a minus.",
        "lon": "Degrees, west with a minus.",
        "timezone": TIME_ZONE,
        "calendar": "When people work here, in local time, and on which days nobody does; see below.",
        "cutoffs": "Until when goods must be ready for a carrier, in local time. " + _AS_BELOW,
        "capacity.frozen": "Pallet positions.",
        "capacity.chilled": "Pallet positions.",
        "capacity.ambient": "Pallet positions.",
        "escalation_group": "Who is called when something is wrong here.",
    },
    examples=lambda: [
        Example("store", "A store with shorter hours on Sundays and a carrier on six days", _SITE)
    ],
)
GROUP_HELP = FormHelp(
    hints={
        "timezone": TIME_ZONE,
        "steps": "Who is called when nobody acknowledged after so many minutes. " + _AS_BELOW,
        "rotas": "Who takes turns on duty; a step names a rota. " + _AS_BELOW,
        "people": "How the members of rotas are reached, and a keyholder's minutes to the door. " + _AS_BELOW,
    },
    examples=lambda: [
        Example("on call", "Two people take weekly turns; after ten minutes one is called", _GROUP)
    ],
)
ZONE_HELP = FormHelp(
    hints={
        "setpoint_c": "What the controller keeps.",
        "low_c": "The band of the air in normal work: its lower end.",
        "high_c": "Its upper end.",
        "lag_min": "How long goods take to follow the air.",
        "escalation_group": "Empty: the site's own.",
    },
)
LANE_HELP = FormHelp(
    hints={
        "transit_min": "Door to door.",
        "cost_cents": "For one pallet.",
        "classes": "What the vehicle keeps cold or warm enough.",
    },
)

"""What a new site of each kind begins with: rooms, places in them, hours. Data; all of it can be changed."""

from __future__ import annotations

import msgspec

from coldgrid.network.sites import SiteKind, SlaTier, TemperatureClass

FROZEN, CHILLED, AMBIENT = TemperatureClass.FROZEN, TemperatureClass.CHILLED, TemperatureClass.AMBIENT


class Air(msgspec.Struct, frozen=True):
    """What the air of a room is kept at, in °C, what the room is called, and the code of its machine."""

    name: str
    machine: str
    setpoint_c: float
    low_c: float
    high_c: float


# Frozen keeps quick-frozen food at −18 °C or colder (Directive 89/108/EEC), chilled at 5 °C or colder (FDA
# Food Code 3-501.16(A)(2)) without freezing it; ambient has no law of its own.
AIR = {
    FROZEN: Air("Freezer", "CMP", -22.0, -28.0, -18.0),
    CHILLED: Air("Chiller", "CMP", 3.0, 0.0, 5.0),
    AMBIENT: Air("Dry room", "AHU", 18.0, 10.0, 25.0),
}


class Room(msgspec.Struct, frozen=True):
    """A room of a kind of site. `lag_min`: how slowly its goods follow its air, in minutes (first order)."""

    pallets: int
    aisles: int
    bays: int
    lag_min: float


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of site. `opens`, `closes`: "" for around the clock; `cutoff`: a first carrier's time, or ""."""

    title: str
    told: str
    rooms: dict[TemperatureClass, Room]
    dock: bool
    tier: SlaTier
    opens: str = ""
    closes: str = ""
    cutoff: str = ""


KINDS: dict[SiteKind, Kind] = {
    SiteKind.STORE: Kind(
        title="Store",
        told="A freezer, a chiller and a back room; open by day",
        rooms={FROZEN: Room(6, 1, 3, 90), CHILLED: Room(10, 1, 3, 60), AMBIENT: Room(20, 2, 3, 240)},
        dock=True,
        tier=SlaTier.SILVER,
        opens="06:00",
        closes="23:00",
    ),
    SiteKind.DARK_STORE: Kind(
        title="Dark store",
        told="A store that customers never enter: picked for delivery until late",
        rooms={FROZEN: Room(12, 2, 3, 120), CHILLED: Room(20, 2, 4, 90), AMBIENT: Room(30, 3, 4, 240)},
        dock=True,
        tier=SlaTier.GOLD,
        opens="05:00",
        closes="24:00",
        cutoff="20:30",
    ),
    SiteKind.MFC: Kind(
        title="MFC",
        told="A micro-fulfilment centre: dense rooms, many orders an hour",
        rooms={FROZEN: Room(60, 3, 4, 240), CHILLED: Room(90, 4, 4, 180), AMBIENT: Room(60, 3, 4, 240)},
        dock=True,
        tier=SlaTier.GOLD,
        cutoff="18:30",
    ),
    SiteKind.DC: Kind(
        title="DC",
        told="A distribution centre: pallets in and out around the clock",
        rooms={FROZEN: Room(240, 4, 6, 360), CHILLED: Room(300, 4, 6, 240), AMBIENT: Room(200, 4, 6, 300)},
        dock=True,
        tier=SlaTier.GOLD,
        cutoff="17:00",
    ),
    SiteKind.CROSS_DOCK: Kind(
        title="Cross-dock",
        told="Goods stay for hours: staging by temperature and a dock",
        rooms={FROZEN: Room(30, 1, 4, 180), CHILLED: Room(40, 1, 4, 120)},
        dock=True,
        tier=SlaTier.SILVER,
        cutoff="16:00",
    ),
    SiteKind.PICKUP_POINT: Kind(
        title="Pick-up point",
        told="A counter with a small freezer and a fridge",
        rooms={FROZEN: Room(1, 1, 2, 75), CHILLED: Room(2, 1, 2, 50)},
        dock=False,
        tier=SlaTier.BRONZE,
        opens="08:00",
        closes="22:00",
    ),
    SiteKind.LOCKER: Kind(
        title="Locker",
        told="Cooled lockers that nobody staffs, open around the clock",
        rooms={FROZEN: Room(1, 1, 2, 75), CHILLED: Room(2, 1, 2, 50)},
        dock=False,
        tier=SlaTier.BRONZE,
    ),
}

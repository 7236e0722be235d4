"""How far a set-up got: read from what is in force, so that it can be left and taken up at any time."""

from __future__ import annotations

import msgspec

from coldgrid.catalog.products import list_products
from coldgrid.kernel.outbox import EffectStatus, effects_about
from coldgrid.kernel.reading import Reader
from coldgrid.network.profile import Profile, profile_of, skipped_steps
from coldgrid.network.sites import get_site, site_labels
from coldgrid.orchestration.trials import about_trials
from coldgrid.telemetry.sensors import Sensor, list_sensors
from coldgrid.telemetry.store import LastReading, last_reading
from coldgrid.tower.first_run.link import WELCOME

TITLES = {
    "network": "Network",
    "site": "First site",
    "products": "Products",
    "sensor": "First sensor",
    "people": "Who is woken",
    "summary": "Summary",
}
DONE, SKIPPED, BEGUN, OPEN = "done", "skipped", "begun", "open"


class Step(msgspec.Struct, frozen=True):
    """A step as its list shows it."""

    key: str
    title: str
    href: str
    state: str


class Progress(msgspec.Struct, frozen=True):
    """What there is so far. `site_id`: the first site, or ""."""

    profile: Profile | None
    site_id: str
    sensors: list[Sensor]
    heard: list[tuple[Sensor, LastReading]]
    products: int
    tried: bool
    skipped: set[str]

    def state_of(self, key: str) -> str:
        """Return how far a step is."""
        done = {
            "network": self.profile is not None,
            "site": bool(self.site_id),
            "products": self.products > 0,
            "sensor": bool(self.heard),
            "people": self.tried,
        }.get(key, False)
        if done:
            return DONE
        if key == "sensor" and self.sensors:
            return BEGUN
        return SKIPPED if key in self.skipped else OPEN

    @property
    def steps(self) -> list[Step]:
        """The steps in their order."""
        return [Step(key, title, f"{WELCOME}/{key}", self.state_of(key)) for key, title in TITLES.items()]

    @property
    def next_step(self) -> str:
        """The first step that is neither done nor left for later."""
        return next((step.key for step in self.steps if step.state in (OPEN, BEGUN)), "summary")


def progress_of(db: Reader) -> Progress:
    """Look at what is in force."""
    labels = site_labels(db)
    site_id = labels[0].site_id if labels else ""
    sensors = [sensor for sensor in list_sensors(db) if sensor.active]
    heard = [(sensor, last) for sensor in sensors if (last := last_reading(db, sensor.sensor_id)) is not None]
    return Progress(
        profile=profile_of(db),
        site_id=site_id,
        sensors=sensors,
        heard=heard,
        products=len(list_products(db)),
        tried=bool(site_id) and _tried(db, site_id),
        skipped=skipped_steps(db),
    )


def _tried(db: Reader, site_id: str) -> bool:
    effects = effects_about(db, about_trials(get_site(db, site_id).escalation_group))
    return any(effect.status is EffectStatus.DELIVERED for effect in effects)

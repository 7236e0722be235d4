"""The demo network's master data, as it is drafted when the demo starts for the first time."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from coldgrid.network.imports import SourceFile, load_items

# The rooms that know the kinds of items which the network itself does not.
for _room in ("catalog", "telemetry"):
    import_module(f"coldgrid.{_room}")

DATA = Path(__file__).parent / "data"
# What later files refer to comes first.
FILES = (
    "groups.yaml",
    "sites.yaml",
    "zones.csv",
    "locations.csv",
    "lanes.csv",
    "products.yaml",
    "limits.csv",
    "sensors.csv",
    "supply.yaml",
)


def load_demo_master(data_dir: Path = DATA) -> list[dict[str, Any]]:
    """Return the items of the demo's master data, ready for `DraftChange`.

    Raises:
        Invalid: every bad line of every file.
    """
    return load_items([SourceFile(name, (data_dir / name).read_bytes()) for name in FILES])

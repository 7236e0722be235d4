"""A node's folder: its settings, its database, its keys. One folder is one node.

`settings.env` has lines `COLDGRID_NAME=value`; the environment wins over them. What lies in the folder by
name (database, signing key) is set by neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coldgrid.kernel.settings import PREFIX, Settings, load_settings
from coldgrid.sync.identity_files import write_private

SETTINGS = "settings.env"


def settings_in(folder: Path, environment: Mapping[str, str], **overrides: Any) -> Settings:
    """Read the settings of the node in a folder.

    Raises:
        Invalid: see `load_settings`.
    """
    told = _lines(folder / SETTINGS) | {k: v for k, v in environment.items() if k.startswith(PREFIX)}
    own = {"database": str(folder / "node.db"), "signing_key": str(folder / "signing.key")}
    return load_settings(told, **own, **overrides)


def keep_settings(folder: Path, **changes: str | None) -> None:
    """Write settings into a node's folder; those named None stay as they are."""
    known = _lines(folder / SETTINGS)
    known |= {PREFIX + name.upper(): value for name, value in changes.items() if value is not None}
    text = "".join(f"{name}={value}\n" for name, value in sorted(known.items()))
    write_private(folder / SETTINGS, text.encode())


def _lines(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    pairs = (line.partition("=") for line in path.read_text().splitlines() if line.strip())
    return {name.strip(): value.strip() for name, mark, value in pairs if mark and not name.startswith("#")}

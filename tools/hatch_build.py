"""Hatch hook: a wheel carries the browser assets, so building one builds them first."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def _assets() -> ModuleType:
    spec = importlib.util.spec_from_file_location("assets", Path(__file__).with_name("assets.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Builds ui/ for wheels and sdists; an editable install leaves that to make."""

    def dependencies(self) -> list[str]:
        """The node wheel, when the machine has no node and there is something to build."""
        assets = _assets()
        needed = (assets.ROOT / "ui").exists() and not assets.fresh() and not assets.machine_node()
        return [assets.NODE_WHEEL] if needed else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the assets unless they are fresh."""
        assets = _assets()
        if version != "editable" and (assets.ROOT / "ui").exists():
            assets.build()

"""Drivers: every one of this release. Importing this module registers them; that needs no extra."""

from __future__ import annotations

from importlib import import_module

# One line each; a driver's module calls `driving.register_driver`.
MODULES: tuple[str, ...] = ("lorawan", "modbus", "mqtt_gateway", "snmp", "sparkplug")

for _name in MODULES:
    import_module(f"coldgrid.adapters.{_name}")

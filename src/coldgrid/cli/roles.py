"""Which rooms a command loads: those of the host whose database it works on, all of them."""

from __future__ import annotations

from importlib import import_module


def load_rooms_of(role: str) -> None:
    """Load the rooms of a tower or a node, as serving it does: a table that is not known would be missed."""
    import_module(f"coldgrid.{role}.application")  # the parts of `sync` that a host needs come with it
    import_module(f"coldgrid.{role}.rooms").load_rooms()

"""Warehouse: the work of a site with goods: orders to pick and dispatch, deliveries to take in.

What is to be done comes to a site as data, so all of it goes on with the line to the tower down.
"""

from __future__ import annotations

from coldgrid.warehouse import picking, picks, receiving, released

__all__ = ["picking", "picks", "receiving", "released"]

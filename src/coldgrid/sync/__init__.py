"""Sync: nodes enrol at the tower and talk to it over mutual TLS."""

from coldgrid.sync import admitting, choices, copied_nodes, enrolled, enrolment

__all__ = ["admitting", "choices", "copied_nodes", "enrolled", "enrolment"]

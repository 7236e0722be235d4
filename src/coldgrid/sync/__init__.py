"""Sync: nodes enrol at the tower and talk to it over mutual TLS."""

from coldgrid.sync import admitting, choices, enrolled, enrolment

__all__ = ["admitting", "choices", "enrolled", "enrolment"]

"""Sync: nodes enrol at the tower and talk to it over mutual TLS."""

from coldgrid.sync import enrolled, enrolment

__all__ = ["enrolled", "enrolment"]

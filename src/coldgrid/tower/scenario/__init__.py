"""Scenarios: a plan played in virtual time through the code that serves, and a report of what it showed."""

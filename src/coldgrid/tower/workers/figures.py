"""Figures of a worker, in Prometheus' default registry."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

LEADS = Gauge("coldgrid_worker_leads", "1 while this worker decides.")
TERM = Gauge("coldgrid_worker_term", "Term of the lease, as this worker last saw it.")
WORKERS = Gauge("coldgrid_workers", "Workers that were heard within the lease.")
SILENT = Gauge("coldgrid_leader_silent_seconds", "Since the leader was heard, by the database's clock.")
LEADERLESS = Gauge("coldgrid_leaderless", "1 while nobody decides: pages are served, commands are not taken.")
WAITING = Gauge("coldgrid_worker_waiting", "Commands on this worker that wait for an outcome.")
FORWARDED = Counter("coldgrid_worker_forwarded_total", "Commands that went to another worker.")
TAKEOVERS = Counter("coldgrid_worker_takeovers_total", "Silent leaders whose session this worker ended.")

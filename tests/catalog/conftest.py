"""The demo's catalog, served as in the tests of the network."""

from __future__ import annotations

from tests.network.conftest import client, served

__all__ = ["client", "served"]

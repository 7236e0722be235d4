"""Network flows: what happens across sites when one of them pauses, holds or changes its mode.

Sites' facts become new sourcing of the orders that counted on them, and word to the customers.
"""

from __future__ import annotations

from coldgrid.network_flows import forks, notices, pack, resourcing, telling

__all__ = ["forks", "notices", "pack", "resourcing", "telling"]

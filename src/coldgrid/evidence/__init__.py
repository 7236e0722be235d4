"""Evidence: what lets anybody check, offline, that the log was not changed."""

from coldgrid.evidence import forks, tiles, witness

__all__ = ["forks", "tiles", "witness"]

"""Keys: workers that stand in for each other sign and certify with the same ones."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from coldgrid.evidence.checkpoints import Notary
from coldgrid.kernel.settings import Settings
from coldgrid.node.parts import system_now
from coldgrid.sync import identity_files
from coldgrid.sync.codes import pin_of

_known: dict[tuple[str, int], str] = {}


def own_keys(settings: Settings, notary: Notary, *, with_nodes: bool) -> list[str]:
    """Return what tells a worker's keys: its public signing key, and its authority of nodes if it has one."""
    keys = [notary.signer.key.encode()]
    path = Path(settings.authority_key)
    if with_nodes and path.exists():
        keys.append(_authority(path, settings.network))
    return keys


def _authority(path: Path, network: str) -> str:
    place = (str(path), path.stat().st_mtime_ns)
    if place not in _known:
        authority = identity_files.open_authority(path, network, system_now(), secrets.token_bytes)
        _known[place] = pin_of(authority.fingerprint)
    return _known[place]


def why_not(own: Sequence[str], leaders: Sequence[str]) -> str:
    """Return why a worker with these keys must not take over from that leader; empty where it may."""
    if leaders[:1] and own[:1] != leaders[:1]:
        return "its signing key is not the leader's: copy the leader's file (COLDGRID_SIGNING_KEY) here"
    if leaders[1:] and own[1:] != leaders[1:]:
        return "its authority is not the leader's: copy the leader's file (COLDGRID_AUTHORITY_KEY) here"
    return ""

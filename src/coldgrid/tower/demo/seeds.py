"""Seeds: the demo's opening state, kept as a file, so that a second start has nothing to set up.

A seed is known by the plan, the day and this release's own files; anything else makes it anew.
"""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path

import msgspec

import coldgrid
from coldgrid.kernel.driver import Connection
from coldgrid.tower.world.plan import Plan

PACKAGE = Path(coldgrid.__file__).parent


def of(folder: Path, plan: Plan) -> Path:
    """Return where the seed of a plan is kept."""
    digest = sha256(msgspec.json.encode(plan))
    for path in sorted([*PACKAGE.rglob("*.py"), *(PACKAGE / "tower" / "demo" / "data").iterdir()]):
        digest.update(f"{path.relative_to(PACKAGE)} {path.stat().st_mtime_ns}\n".encode())
    return folder / f"seed-{digest.hexdigest()[:16]}.db"


def put_back(seed: Path, database: Path) -> bool:
    """Make the demo's database: a copy of its seed where there is one; return whether it must be filled."""
    for old in database.parent.glob(f"{database.name}*"):
        old.unlink()
    if not seed.exists():
        return True
    shutil.copyfile(seed, database)
    return False


def keep(connection: Connection, seed: Path) -> None:
    """Keep the opening state, and no older one."""
    for old in seed.parent.glob("seed-*.db"):
        old.unlink()
    connection.command(f"VACUUM INTO '{seed}'")

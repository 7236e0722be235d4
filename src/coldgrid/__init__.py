"""Coldgrid: many small cold-chain sites, run as one network.

Two libraries load others for what no process of this program shows: structlog rich, for tracebacks in
colour, and httpx rich, click and pygments, for a command line of its own. Both do without where those are not
installed, so that is what they are told: every process is smaller by it, and starts sooner.
"""

import sys

sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog as structlog

    del sys.modules["rich"]

"""Options that many commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON on stdout and nothing else.")]
Where = Annotated[
    str | None, Parameter(help="SQLite file or postgresql:// address; default COLDGRID_DATABASE.")
]
NodeFolder = Annotated[Path | None, Parameter(name="--data", help="The node's folder.")]

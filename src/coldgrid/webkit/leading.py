"""What only the worker that decides can do: a route marked so is carried out by it, whoever was asked.

Where there is one worker the mark says nothing. A handler needs it when it looks at what the deciding process
alone has in memory, or runs work on the decider itself.
"""

from __future__ import annotations

from typing import Any

AT_LEADER: dict[str, Any] = {"at_leader": True}

"""Pages about orders."""

from __future__ import annotations

handlers: list[object] = []

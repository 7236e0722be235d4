"""Access: people, machines, roles, sessions and tokens; it implements the kernel's `Authorizer`."""

from coldgrid.access import api_tokens, managing, people, reads, refusals, sessions

__all__ = ["api_tokens", "managing", "people", "reads", "refusals", "sessions"]

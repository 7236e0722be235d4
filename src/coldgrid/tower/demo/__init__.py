"""The demo network: what it consists of."""

"""Node: what a host of one site consists of, and what every host has: clocks, background work, live pages."""

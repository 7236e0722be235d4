"""A world to run against: weather in the zones, goods, orders and people, for the demo and for scenarios."""

"""Tower: the composition root that runs the network. It chooses rooms, wires adapters, reads the clock."""

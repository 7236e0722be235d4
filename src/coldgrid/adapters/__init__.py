"""Adapters: where Coldgrid touches sockets and devices. Each carries out, or reads, one kind of channel."""

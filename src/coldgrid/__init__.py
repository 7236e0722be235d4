"""Coldgrid: many small cold-chain sites, run as one network."""

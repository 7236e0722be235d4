"""The channel between workers on one database: commands to the one that decides, and its answers."""

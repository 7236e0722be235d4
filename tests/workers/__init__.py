"""Several workers on one database, as processes that are killed, stopped and woken."""

"""The tower as several workers on one PostgreSQL database: one decides, the others serve and take over."""

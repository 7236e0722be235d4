"""Web kit: the page shell, its parts, live updates and the one road from HTTP to a command."""

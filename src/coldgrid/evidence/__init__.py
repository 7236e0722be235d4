"""Evidence: what lets anybody check, offline, that the log was not changed."""

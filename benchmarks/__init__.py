"""Programs that measure Plata against a named peer in the same run."""

"""The simulator: a city's requests as Raw events, the same bytes from the same seed everywhere."""

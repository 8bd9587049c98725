"""The control plane: what ran, for whom, with what result, in Postgres."""

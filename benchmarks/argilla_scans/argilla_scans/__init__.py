"""The peer of `benchmarks.argilla_search`: the same searches on Argilla's own tables alone."""

"""Argilla's search engine on its own PostgreSQL tables: nothing to index, nothing to drift."""

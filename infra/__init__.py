"""Deployment: only `infra.embedded` is imported, the rest is files."""

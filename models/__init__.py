"""Classifiers, one module a family, and the routing of what they are unsure of."""

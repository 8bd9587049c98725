"""Drift, quality and cost: is what we serve still what we measured?"""

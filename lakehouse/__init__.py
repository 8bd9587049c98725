"""The ground of Plata: tenancy, runs, settings, the three planes. Knows nothing of PQRS."""

"""The faces of Plata: command line, HTTP API, dashboard."""

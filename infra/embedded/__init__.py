"""The local services: a supervisor that starts, watches and stops the real parts."""

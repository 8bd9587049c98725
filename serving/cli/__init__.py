"""The command line `plata`: one module a group of commands. Only `serving` prints."""

"""The data plane: tables and files of one tenant on a folder or an object store."""

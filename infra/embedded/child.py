"""Become a supervised process: drop to another account, die with the supervisor, then execute.

Run by path, isolated and without site-packages, so that it costs milliseconds:
`python -I -S child.py SUPERVISOR_PID DEATH_SIGNAL UID GID PROGRAM ARGUMENT…` (UID -1: stay).
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Never returns: it executes the program, or exits."""
    supervisor, death_signal, uid, gid = (int(number) for number in arguments[:4])
    command = arguments[4:]
    libc = ctypes.CDLL(None, use_errno=True)
    if uid >= 0:
        os.initgroups(_login(uid), gid)
        os.setgid(gid)
        os.setuid(uid)
    # After setuid, which clears it.
    libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != supervisor:
        os._exit(1)
    os.umask(0o077)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"cannot execute {command[0]}: {error.strerror}\n")
        os._exit(127)


def _login(uid: int) -> str:
    import pwd

    return pwd.getpwuid(uid).pw_name


if __name__ == "__main__":
    main(sys.argv[1:])

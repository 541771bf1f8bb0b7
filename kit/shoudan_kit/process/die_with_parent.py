"""Runs a program that ends when its parent does: `python -I -S HERE PARENT SIGNAL UID:GID|- PROGRAM...`.

A script of its own, because the wish must be made between fork and exec: doing that with `preexec_fn`
would run Python in a forked copy of a process full of gRPC threads.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def ask(death_signal: int) -> None:
    """From now on the kernel sends this process the signal when its parent dies (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)


def main(argv: list[str]) -> None:
    """Become the program. Does not return; what goes wrong is said on stderr with exit code 1."""
    parent, death_signal, user, program = int(argv[1]), int(argv[2]), argv[3], argv[4:]
    os.umask(0o077)
    if user != "-":
        uid, gid = map(int, user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    ask(death_signal)  # only now: the kernel forgets the wish when the user changes
    if os.getppid() != parent:
        sys.exit(f"die_with_parent: the parent {parent} has gone")
    os.execv(program[0], program)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv)

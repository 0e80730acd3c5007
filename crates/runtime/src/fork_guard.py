"""Children that an application forks do not keep the server's sockets open: nobody would accept or answer there."""

import os
import stat


def identity(descriptor):
    """The inode of a socket; None for everything else."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_ino if stat.S_ISSOCK(status.st_mode) else None


def install():
    """To be called before the application is there: every socket that is open now is the server's."""
    open_now = {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2}
    sockets = {descriptor: identity(descriptor) for descriptor in open_now}

    def close():
        for descriptor, known in sockets.items():
            # The server may have closed it since, and the number may be another's now.
            if known is not None and identity(descriptor) == known:
                os.close(descriptor)

    os.register_at_fork(after_in_child=close)

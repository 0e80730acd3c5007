"""What applications start: children that they fork do not keep the server's sockets, and hear what they lack.

A forked child has one thread of many, and every lock as it was at that moment. So `multiprocessing` begins with a fresh
interpreter where the application does not choose (as from Python 3.14 on), and a fork is told, once.
"""

import importlib.util
import os
import stat
import sys
import traceback


def identity(descriptor):
    """The inode of a socket; None for everything else."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_ino if stat.S_ISSOCK(status.st_mode) else None


class Told:
    """Says of the first fork where it was."""

    def __init__(self):
        self.said = False

    def __call__(self):
        if self.said:
            return
        self.said = True
        print(
            "the application forks this process, which has many threads: the child has only one of them, and locks that"
            " others held stay locked in it; the start methods 'forkserver' and 'spawn' of multiprocessing, and"
            " subprocess, are safe\n" + "".join(traceback.format_stack()[:-1]),
            end="",
            file=sys.stderr,
            flush=True,
        )


class StartMethod:
    """Sets the default start method of multiprocessing when that is imported: who never does pays nothing."""

    def find_spec(self, name, path=None, target=None):
        if name != "multiprocessing.context":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            prefer_forkserver(module)

        spec.loader.exec_module = exec_module
        return spec


def prefer_forkserver(context):
    """What an application chooses itself, by set_start_method or get_context, still holds."""
    context._default_context._default_context = context._concrete_contexts["forkserver"]


def install():
    """To be called before the application is there: every socket that is open now is the server's."""
    open_now = {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2}
    sockets = {descriptor: identity(descriptor) for descriptor in open_now}

    def close():
        for descriptor, known in sockets.items():
            # The server may have closed it since, and the number may be another's now.
            if known is not None and identity(descriptor) == known:
                os.close(descriptor)

    os.register_at_fork(before=Told(), after_in_child=close)
    if "multiprocessing.context" in sys.modules:
        prefer_forkserver(sys.modules["multiprocessing.context"])
    else:
        sys.meta_path.insert(0, StartMethod())

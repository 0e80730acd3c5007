"""Everything that takes too long, by the first part of the path."""

import ctypes
import os
import queue
import re
import socket
import sys
import threading
import time

# So that a loop of a few milliseconds can be interrupted at all.
sys.setswitchinterval(0.0005)

pair = threading.Barrier(2)
ends = socket.socketpair()


def loop(_):
    while True:
        pass


def stubborn(_):
    while True:
        try:
            loop(None)
        except BaseException:
            pass


def sleep(seconds):
    time.sleep(float(seconds))


def receive(_):
    ends[0].recv(1)


def receive_with_timeout(_):
    ours, theirs = socket.socketpair()
    ours.settimeout(1000)
    ours.recv(1)


def lock(_):
    held = threading.Lock()
    held.acquire()
    held.acquire()


def take(_):
    queue.Queue().get()


def regex(_):
    re.match(r"(a+)+$", "a" * 60 + "b")


def hold_gil(path):
    """Opens a FIFO without letting go of the GIL: until somebody opens its other end."""
    calls = ctypes.PyDLL(None)
    descriptor = calls.open(os.fsencode("/" + path), os.O_RDONLY)
    os.close(descriptor)


def spin(microseconds):
    end = time.perf_counter() + int(microseconds) / 1e6
    while time.perf_counter() < end:
        pass


def meet(_):
    pair.wait(50)


def nothing(_):
    pass


def endless():
    while True:
        yield b"more"


def silent():
    yield b"one"
    loop(None)


def application(environ, start_response):
    name, _, rest = environ["PATH_INFO"].lstrip("/").partition("/")
    start = [("Content-Type", "text/plain")]
    if name in ("endless", "silent"):
        start_response("200 OK", start)
        return globals()[name]()
    globals()[name](rest)
    start_response("200 OK", start)
    return [name.encode()]

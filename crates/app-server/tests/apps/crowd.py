"""Says how many requests it serves at once: some that fight for the GIL, some that wait for something else, some that do without it."""

import hashlib
import os
import threading
import time

guard = threading.Lock()
inside = 0
most = 0
served = 0


def fight():
    """Some milliseconds of Python, with calls that give the GIL up for a moment, as queries of SQLite do."""
    for _ in range(1_500):
        os.stat("/")
        sum(range(200))


def wait():
    time.sleep(0.03)


def digest():
    """Gives the GIL up for some milliseconds of work."""
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 30_000)


def application(environ, start_response):
    global inside, most, served
    name = environ["PATH_INFO"].lstrip("/")
    text = ""
    if name == "count":
        with guard:
            text = f"{most} {served}"
            most = served = 0
    else:
        with guard:
            inside += 1
            most = max(most, inside)
        globals()[name]()
        with guard:
            inside -= 1
            served += 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]

"""Says in files what becomes of it: at exit, and of a slow request."""

import atexit
import os
import time

folder = os.environ["LIFETIME_FOLDER"]


def note(name):
    open(os.path.join(folder, name), "w").close()


atexit.register(note, "exited")


def application(environ, start_response):
    note("started")
    while not os.path.exists(os.path.join(folder, "go")):
        time.sleep(0.01)
    start_response("200 OK", [])
    return [b"slow"]

"""Views that take long, in the two ways a view can, beside one that does not."""

import ctypes
import time
from urllib.parse import parse_qs

PATHS = {
    "/sleep": time.sleep,
    # Called with the GIL held, as a C library that never gives it up.
    "/hold": lambda seconds: ctypes.PyDLL(None).usleep(int(seconds * 1e6)),
}


def application(environ, start_response):
    take_long = PATHS.get(environ["PATH_INFO"])
    if take_long:
        take_long(float(parse_qs(environ["QUERY_STRING"])["s"][0]))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]

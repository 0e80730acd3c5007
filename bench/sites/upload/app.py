"""Reads a body in the pieces that most frameworks use, and says how long it was."""


def application(environ, start_response):
    size = 0
    while block := environ["wsgi.input"].read(64 << 10):
        size += len(block)
    body = b"%d bytes\n" % size
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]

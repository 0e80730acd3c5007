"""What can be called: a class whose instance is the answer, an instance, its method, a partial function, a lambda."""

import functools


class Answer:
    def __init__(self, environ, start_response):
        start_response("200 OK", [])

    def __iter__(self):
        yield b"made"


class Site:
    def __call__(self, environ, start_response):
        return self.respond(environ, start_response)

    def respond(self, environ, start_response):
        start_response("200 OK", [])
        return [b"made"]

    @classmethod
    def build(cls):
        return cls()


def respond(body, environ, start_response):
    start_response("200 OK", [])
    return [body]


site = Site()
partial = functools.partial(respond, b"made")
short = lambda environ, start_response: (start_response("200 OK", []), [b"made"])[1]  # noqa: E731

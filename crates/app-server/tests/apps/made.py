"""Callables behind a factory, an attribute of an attribute, and the name `app`."""


def app(environ, start_response):
    start_response("200 OK", [])
    return [b"made"]


def create_app():
    return app


class namespace:
    inner = create_app()


number = 7

"""A WSGI file whose name is no module's."""


def site(environ, start_response):
    start_response("200 OK", [])
    return [__file__.rpartition("/")[2].encode()]

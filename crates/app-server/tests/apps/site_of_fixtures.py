"""Gives each request to the fixture that the first part of its path names."""

import importlib


def application(environ, start_response):
    name, _, rest = environ["PATH_INFO"].lstrip("/").partition("/")
    environ["SCRIPT_NAME"] += "/" + name
    environ["PATH_INFO"] = "/" + rest if rest else ""
    return importlib.import_module("fixtures." + name).application(environ, start_response)

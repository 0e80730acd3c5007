"""What `onebox dev` adds to an application: a page with the traceback where it fails, or can't be imported, and a line for each
answer. Never part of a site that is deployed.
"""

import html
import sys
import threading
import time
import traceback

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 60rem; padding: 0 1rem }}
h1 {{ font-size: 1.25rem; overflow-wrap: anywhere }}
pre {{ border: 1px solid color-mix(in srgb, currentColor 25%, transparent); border-radius: .5rem; overflow-x: auto; padding: 1rem }}
</style>
<h1>{title}</h1>
<pre tabindex="0">{text}</pre>
<p><small>{request} · shown by <code>onebox dev</code> alone; a site that is deployed shows a plain error page.</small></p>
</html>
"""


def describe(error):
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def title(error):
    return f"{type(error).__name__}: {error}"


def printable(text):
    """Whatever a client sends, a line of the terminal stays one."""
    return text.encode("unicode_escape").decode("ascii")


def page(error, environ):
    """Content type and body for an exception."""
    if "text/html" not in environ.get("HTTP_ACCEPT", "text/html"):
        return "text/plain; charset=utf-8", describe(error).encode("utf-8", "replace")
    request = "{REQUEST_METHOD} {SCRIPT_NAME}{PATH_INFO}".format_map(environ)
    parts = {"title": title(error), "text": describe(error), "request": request}
    text = PAGE.format_map({name: html.escape(part) for name, part in parts.items()})
    return "text/html; charset=utf-8", text.encode("utf-8", "replace")


def start_page(start_response, error, environ):
    """Begins the answer, unless another one is on its way; its body."""
    kind, body = page(error, environ)
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    start_response("500 Internal Server Error", headers, (type(error), error, error.__traceback__))
    return body


class Shown:
    """An application whose exceptions are shown."""

    def __init__(self, application):
        self.application = application
        self.seen = threading.local()

    def saw(self, error):
        """A framework has caught an exception, and will answer in its own way."""
        settings = sys.modules.get("django.conf")
        if settings is None or not settings.settings.DEBUG:
            self.seen.error = error

    def __call__(self, environ, start_response):
        began = time.monotonic()
        answer = Answer(self, environ, start_response)
        self.seen.error = None
        result = ()
        try:
            try:
                result = self.application(environ, answer.start)
                for block in result:
                    if not answer.body:
                        yield block
            except Exception as error:
                # The call in this file says nothing.
                error.__traceback__ = error.__traceback__.tb_next or error.__traceback__
                print(describe(error), end="", file=sys.stderr, flush=True)
                answer.show(error)
            if answer.body:
                yield answer.body
        finally:
            if hasattr(result, "close"):
                result.close()
            took_ms = (time.monotonic() - began) * 1000
            request = "{REQUEST_METHOD} {SCRIPT_NAME}{PATH_INFO}".format_map(environ)
            print(f"{printable(request)} {answer.status} {took_ms:.0f} ms", file=sys.stderr, flush=True)


class Answer:
    """One answer: the application's own, or a page in its place."""

    def __init__(self, shown, environ, start_response):
        self.shown, self.environ, self.start_response = shown, environ, start_response
        self.status, self.body = "-", b""

    def start(self, status, headers, exc_info=None):
        error = self.shown.seen.error
        if error is not None and status.startswith("500"):
            self.show(error)
            return lambda data: None
        self.status = status.partition(" ")[0]
        if exc_info:
            return self.start_response(status, headers, exc_info)
        return self.start_response(status, headers)

    def show(self, error):
        self.status = "500"
        self.body = start_page(self.start_response, error, self.environ)


class Broken:
    """In the place of an application that can't be imported."""

    def __init__(self, error):
        self.error = error

    def __call__(self, environ, start_response):
        return [start_page(start_response, self.error, environ)]

"""Short links, in plain WSGI (PEP 3333): /CODE leads to the address that somebody entered on the first page."""

import secrets
import sqlite3
from contextlib import closing
from html import escape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

DATABASE = Path(__file__).parent / "data" / "links.db"
MAX_FORM_BYTES = 10_000
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Short links</title>
<link rel="stylesheet" href="{root}/static/style.css">
<h1>Short links</h1>
<p class="error">{error}</p>
<form method="post" action="{root}/">
  <input name="address" type="url" placeholder="https://…" required maxlength="2000">
  <button>Shorten</button>
</form>
<table>{links}</table>
</html>
"""


def connect():
    return closing(sqlite3.connect(DATABASE))


def prepare():
    """What has to be there before the first request; running it twice does no harm."""
    DATABASE.parent.mkdir(exist_ok=True)
    with connect() as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS link (code TEXT PRIMARY KEY, address TEXT NOT NULL)")


def page(environ, start_response, status="200 OK", error=""):
    root = escape(environ.get("SCRIPT_NAME", ""))
    with connect() as database:
        rows = database.execute("SELECT code, address FROM link ORDER BY rowid DESC LIMIT 50").fetchall()
    links = "".join(
        f'<tr><td><a href="{root}/{code}">/{code}</a><td>{escape(address)}' for code, address in rows
    )
    body = PAGE.format(root=root, error=escape(error), links=links).encode()
    start_response(status, [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


def add(environ, start_response):
    size = int(environ.get("CONTENT_LENGTH") or 0)
    if size > MAX_FORM_BYTES:
        return text(start_response, "413 Content Too Large", "That is too much.\n")
    form = parse_qs(environ["wsgi.input"].read(size).decode("utf-8", "replace"))
    address = form.get("address", [""])[0].strip()
    if not is_web_address(address):
        return page(environ, start_response, "400 Bad Request", "That is no address of the web.")
    with connect() as database, database:
        database.execute("INSERT INTO link VALUES (?, ?)", (secrets.token_urlsafe(6), address))
    start_response("303 See Other", [("Location", environ.get("SCRIPT_NAME", "") + "/")])
    return []


def is_web_address(address):
    """An address that may stand in a Location header."""
    if not address.isascii() or not address.isprintable() or " " in address:
        return False
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def follow(environ, start_response, code):
    with connect() as database:
        row = database.execute("SELECT address FROM link WHERE code = ?", (code,)).fetchone()
    if row is None:
        return text(start_response, "404 Not Found", "There is no such link.\n")
    start_response("302 Found", [("Location", row[0])])
    return []


def text(start_response, status, message):
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [message.encode()]


def application(environ, start_response):
    method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
    if path == "/health":
        return text(start_response, "200 OK", "ok\n")
    if path in ("", "/") and method == "POST":
        return add(environ, start_response)
    if method not in ("GET", "HEAD"):
        start_response("405 Method Not Allowed", [("Allow", "GET, HEAD")])
        return []
    if path in ("", "/"):
        return page(environ, start_response)
    return follow(environ, start_response, path[1:])


prepare()

if __name__ == "__main__":
    from wsgiref.simple_server import make_server

    make_server("127.0.0.1", 8000, application).serve_forever()

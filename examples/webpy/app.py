"""A shopping list: items in SQLite, a page made from a template, two forms."""

import hmac
import os
import secrets

import web

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "data")
TOKEN = "list_token"

urls = ("/", "List", "/bought", "Bought", "/health", "Health")
render = web.template.render(os.path.join(HERE, "templates"))


def prepare():
    """What has to be there before the first request; running it twice does no harm."""
    database.query("CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")


def token():
    """A secret that this browser has in a cookie and every form of ours repeats."""
    known = web.cookies().get(TOKEN)
    if not known:
        known = secrets.token_urlsafe(16)
        web.setcookie(TOKEN, known, httponly=True, samesite="Strict")
    return known


def sent_form(**fields):
    """The form of a request, when it was ours."""
    form = web.input(token="", **fields)
    known = web.cookies().get(TOKEN, "")
    if not known or not hmac.compare_digest(known.encode(), form.token.encode()):
        raise web.forbidden("This form is too old. Go back and load the page again.")
    return form


class List:
    def GET(self):
        web.header("Content-Type", "text/html; charset=utf-8")
        items = list(database.select("item", order="id"))
        return render.index(items, token(), web.ctx.homepath)

    def POST(self):
        name = sent_form(name="").name.strip()[:80]
        if name:
            database.insert("item", name=name)
        raise web.seeother("/")


class Bought:
    def POST(self):
        number = sent_form(id="").id
        if number.isdecimal():
            database.delete("item", where="id = $number", vars={"number": number})
        raise web.seeother("/")


class Health:
    def GET(self):
        database.query("SELECT count(*) FROM item")
        web.header("Content-Type", "text/plain")
        return "ok\n"


web.config.debug = False
os.makedirs(DATA, exist_ok=True)
database = web.database(dbn="sqlite", db=os.path.join(DATA, "list.db"))
prepare()
app = web.application(urls, globals())
application = app.wsgifunc()

if __name__ == "__main__":
    app.run()

"""A guest book: messages in SQLite, pictures in a folder. Small, but everything a real site needs.

Both live below ``instance/`` and ``uploads/``, which onebox keeps across releases: the first because Flask's
instance folder is known to hold a site's own data, the second because ``onebox.toml`` says so.
"""

import os
import secrets
import sqlite3
from pathlib import Path

from flask import Flask, abort, flash, g, redirect, render_template, request, send_from_directory, url_for

PICTURES = {"image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "image/webp": ".webp"}

app = Flask(__name__, instance_relative_config=True)
app.config.update(
    MAX_CONTENT_LENGTH=8 * 1024 * 1024,
    DATABASE=os.path.join(app.instance_path, "guestbook.db"),
    UPLOADS=os.path.join(app.root_path, "uploads"),
)


def secret_key():
    """The key that signs sessions: from the environment, else made once and kept beside the database."""
    if key := os.environ.get("SECRET_KEY"):
        return key
    file = Path(app.instance_path, "secret_key")
    try:
        with open(file, "x", opener=lambda path, flags: os.open(path, flags, 0o600)) as new:
            new.write(secrets.token_hex(32))
    except FileExistsError:
        pass
    return file.read_text()


def database():
    """This request's connection."""
    if "database" not in g:
        g.database = sqlite3.connect(app.config["DATABASE"])
        g.database.row_factory = sqlite3.Row
    return g.database


@app.teardown_appcontext
def close_database(_error):
    if (connection := g.pop("database", None)) is not None:
        connection.close()


def prepare():
    """What has to be there before the first request; running it twice does no harm."""
    os.makedirs(app.instance_path, exist_ok=True)
    os.makedirs(app.config["UPLOADS"], exist_ok=True)
    app.secret_key = secret_key()
    with app.app_context():
        database().execute("PRAGMA journal_mode = WAL")
        database().executescript(
            """
            CREATE TABLE IF NOT EXISTS entry (
                id INTEGER PRIMARY KEY,
                name TEXT NOT NULL,
                message TEXT NOT NULL,
                picture TEXT,
                written TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
            );
            """
        )


def save_picture(upload):
    """Stores an uploaded picture under a name of our own; the name and type that a browser claims are not trusted."""
    head = upload.stream.read(12)
    upload.stream.seek(0)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        kind = "image/png"
    elif head.startswith(b"\xff\xd8\xff"):
        kind = "image/jpeg"
    elif head[:6] in (b"GIF87a", b"GIF89a"):
        kind = "image/gif"
    elif head[:4] == b"RIFF" and head[8:] == b"WEBP":
        kind = "image/webp"
    else:
        return None
    name = secrets.token_hex(8) + PICTURES[kind]
    upload.save(os.path.join(app.config["UPLOADS"], name))
    return name


@app.get("/")
def index():
    entries = database().execute("SELECT * FROM entry ORDER BY id DESC LIMIT 100").fetchall()
    return render_template("index.html", entries=entries)


@app.post("/")
def sign():
    name = request.form.get("name", "").strip()[:80]
    message = request.form.get("message", "").strip()[:2000]
    if not name or not message:
        flash("Please give your name and a message.")
        return redirect(url_for("index"), 303)
    picture = None
    upload = request.files.get("picture")
    if upload and upload.filename:
        picture = save_picture(upload)
        if picture is None:
            flash("Only PNG, JPEG, GIF and WebP pictures can be shown.")
            return redirect(url_for("index"), 303)
    database().execute("INSERT INTO entry (name, message, picture) VALUES (?, ?, ?)", (name, message, picture))
    database().commit()
    return redirect(url_for("index"), 303)


@app.get("/pictures/<name>")
def picture(name):
    """Where nothing in front serves the folder: `flask run`, say."""
    if not name.endswith(tuple(PICTURES.values())):
        abort(404)
    return send_from_directory(app.config["UPLOADS"], name)


@app.get("/health")
def health():
    database().execute("SELECT count(*) FROM entry").fetchone()
    return "ok\n", {"Content-Type": "text/plain"}


prepare()

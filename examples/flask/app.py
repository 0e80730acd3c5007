"""A guestbook: entries in SQLite, pictures on disk, a form, a stylesheet.

Everything it writes is below Flask's instance folder, which onebox keeps across releases.
"""

import sqlite3
import uuid
from pathlib import Path

from flask import Flask, abort, g, redirect, render_template, request, send_from_directory, url_for

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 10 * 1024 * 1024

INSTANCE = Path(app.instance_path)
PICTURES = INSTANCE / "pictures"
PICTURE_TYPES = {"image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "image/webp": ".webp"}

SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    message TEXT NOT NULL,
    picture TEXT,
    written TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
)
"""


def database():
    """The connection of this request."""
    if "database" not in g:
        PICTURES.mkdir(parents=True, exist_ok=True)
        g.database = sqlite3.connect(INSTANCE / "guestbook.sqlite3")
        g.database.row_factory = sqlite3.Row
        g.database.execute(SCHEMA)
    return g.database


@app.teardown_appcontext
def close_database(_error):
    connection = g.pop("database", None)
    if connection is not None:
        connection.close()


@app.get("/")
def index():
    entries = database().execute("SELECT * FROM entry ORDER BY id DESC LIMIT 50").fetchall()
    return render_template("index.html", entries=entries)


@app.post("/")
def write():
    name, message = request.form.get("name", "").strip(), request.form.get("message", "").strip()
    if not name or not message:
        abort(400, "A name and a message, please.")
    connection = database()
    connection.execute(
        "INSERT INTO entry (name, message, picture) VALUES (?, ?, ?)", (name, message, save_picture())
    )
    connection.commit()
    return redirect(url_for("index"), 303)


@app.get("/pictures/<name>")
def picture(name):
    return send_from_directory(PICTURES, name)


def save_picture():
    """Keeps an uploaded picture under a name of our own; returns that name."""
    upload = request.files.get("picture")
    if upload is None or not upload.filename:
        return None
    suffix = PICTURE_TYPES.get(upload.mimetype)
    if suffix is None:
        abort(415, "A picture, please: PNG, JPEG, GIF or WebP.")
    PICTURES.mkdir(parents=True, exist_ok=True)
    name = uuid.uuid4().hex + suffix
    upload.save(PICTURES / name)
    return name

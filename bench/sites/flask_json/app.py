"""A small API in Flask: routing, the request's arguments, an answer in JSON."""

from flask import Flask, jsonify, request

application = Flask(__name__)


@application.get("/api/items/<int:number>")
def item(number):
    return jsonify(id=number, name=f"item {number}", tags=["a", "b", "c"], q=request.args.get("q"))

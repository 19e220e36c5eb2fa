"""The least that a Flask route can be, to hold ours against: it runs on the same server with the same options."""

from flask import Flask, Response, jsonify

app = Flask("floor")


@app.get("/")
def empty() -> Response:
    return jsonify(status="ok")

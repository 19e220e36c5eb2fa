"""The smallest Flask route, as the floor of ours. It runs on the same server with the same options."""

from flask import Flask, Response, jsonify

app = Flask("floor")


@app.get("/")
def empty() -> Response:
    return jsonify(status="ok")

"""A service as tutorials of 2021 had it; see the chapter of the handout on why it no longer starts."""

from flask import Flask, jsonify

app = Flask(__name__)


@app.route("/")
def hello():
    return jsonify(message="Hello from a container!")


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=5000, debug=True)

"""Flask and requests, under gunicorn's threads; the environment's `UPSTREAM` is Grok."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator

import flask
import requests

from .lines import convert, whole

app = flask.Flask(__name__)
_session = requests.Session()
_session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=100))
_URL = os.environ.get("UPSTREAM", "") + "/rest/app-chat/conversations/new"


@app.post("/v1/chat/completions")
def _chat() -> flask.Response:
    asked = flask.request.get_json()
    identity, created = f"chatcmpl-{uuid.uuid4()}", int(time.time())
    message = {"message": asked["messages"][-1]["content"]}
    response = _session.post(_URL, json=message, stream=True)
    if not asked.get("stream"):
        return flask.jsonify(whole(response.content.splitlines(), identity, created))

    def give() -> Iterator[bytes]:
        for line in response.iter_lines(chunk_size=None):
            if line and (data := convert(line, identity, created)):
                yield data
        yield b"data: [DONE]\n\n"

    return flask.Response(give(), content_type="text/event-stream")

"""A page in Chromium that comes from elsewhere and streams by `fetch`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from .guide import ANSWER, read_snippet
from .stand import KEY, Stand
from .webdriver import Browser, open_browser

pytestmark = pytest.mark.heavy

_TOLD = """<!doctype html><meta charset="utf-8"><pre id="told"></pre>
<script type="module">
  const told = document.getElementById('told')
  const ask = (key, body, signal) => fetch('ADDRESS/chat/completions', {
    method: 'POST',
    signal,
    headers: { 'Authorization': `Bearer ${key}`, 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  })
  const messages = [{ role: 'user', content: 'hi' }]

  // Errors can be read, and so can the headers that say what became of the request.
  const refused = await ask('sk-wrong', { model: 'grok-3', messages })
  told.textContent += `${refused.status} ${(await refused.json()).error.code}\\n`
  const ignored = await ask('KEY', { model: 'grok-3', messages, seed: 1 })
  told.textContent += `${ignored.status} ${ignored.headers.get('x-grokproto-ignored')}\\n`
  told.textContent += `${ignored.headers.get('x-request-id') !== null}\\n`

  // Who leaves, leaves.
  const controller = new AbortController()
  const long = { model: 'grok-3', stream: true, messages: [{ role: 'user', content: 'LONG' }] }
  const left = await ask('KEY', long, controller.signal)
  await left.body.getReader().read()
  controller.abort()
  document.title = 'done'
</script>
"""


@contextmanager
def serve_page(page: str) -> Iterator[str]:
    """Serve a page at another origin than the API's."""

    class Handler(BaseHTTPRequestHandler):
        """Answers everything with the page."""

        def do_GET(self) -> None:
            """Answer."""
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests; it takes seconds to start."""
    with open_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def show(browser: Browser, page: str) -> str:
    """Show a page until it is done; give its text."""
    with serve_page(page) as address:
        browser.open(address)
        return browser.wait_for_title("done").strip()


def test_guide(stand: Stand, browser: Browser) -> None:
    assert show(browser, read_snippet("A page in a browser", "html", stand)) == ANSWER
    stand.wait_until_idle()
    asked = [(e["method"], e["status"]) for e in stand.log if e["event"] == "request"]
    assert asked == [("OPTIONS", 204), ("POST", 200)]


def test_what_a_page_is_told(stand: Stand, browser: Browser, tmp_path: Path) -> None:
    page = _TOLD.replace("ADDRESS", stand.base_url).replace("KEY", KEY)
    text = show(browser, page.replace("LONG", "[[fault:endless_answer]]"))
    assert text.splitlines() == ["401 invalid_api_key", "200 seed", "true"]
    stand.wait_until_idle()
    assert stand.simulator.site.cancelled == 1

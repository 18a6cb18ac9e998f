"""As much of WebDriver as it takes to open a page in Chromium and ask it something."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .offline import offline_environment

_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--incognito",
    # What the browser does by itself, for nobody's page.
    "--disable-background-networking",
    "--component-updater=url-source=http://127.0.0.1:9",
    "--disable-extensions",
    "--disable-features=NetworkTimeServiceQuerying,OptimizationHints",
    "--disable-sync",
    "--gaia-url=http://127.0.0.1:9",
    "--google-apis-url=http://127.0.0.1:9",
    # Beside the proxy, for what would go past it.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
_PREFERENCES = {
    "net.network_prediction_options": 2,
    "search.suggest_enabled": False,
    "signin.allowed": False,
    "safebrowsing.enabled": False,
}
_PATIENCE = 60.0
_WAIT_FOR_TITLE = """
const [wanted, done] = arguments
const look = () => { if (document.title === wanted) done(document.body.innerText) }
const all = { subtree: true, childList: true, characterData: true }
new MutationObserver(look).observe(document, all)
look()
"""


class Browser:
    """A window of Chromium's."""

    def __init__(self, driver: str, session: str) -> None:
        self._base = f"{driver}/session/{session}"

    def open(self, url: str) -> None:
        """Load a page."""
        call("POST", f"{self._base}/url", {"url": url})

    def wait_for_title(self, title: str) -> str:
        """Wait until the page has this title; give its text."""
        body = {"script": _WAIT_FOR_TITLE, "args": [title]}
        return str(call("POST", f"{self._base}/execute/async", body))

    def close(self) -> None:
        """Close it."""
        call("DELETE", self._base)


def call(method: str, url: str, body: Any = None) -> Any:
    """One command to the driver."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=_PATIENCE) as response:
        return json.load(response)["value"]


@contextmanager
def open_browser(directory: Path) -> Iterator[Browser]:
    """Chromium with a profile of its own, kept to this machine by a proxy that answers nobody;
    fails at the end if it asked that proxy for anything."""
    driver, binary = shutil.which("chromedriver"), shutil.which("chromium")
    assert driver is not None, "Chromium is missing: python -m tests.clients.install"
    with offline_environment(directory) as environment:
        process = subprocess.Popen(
            [driver, "--port=0"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            found = None
            while found is None:
                line = process.stdout.readline()
                assert line, "the driver did not start"
                found = re.search(r"started successfully on port (\d+)", line)
            address = f"http://127.0.0.1:{found[1]}"
            arguments = [
                *_ARGUMENTS,
                f"--user-data-dir={directory / 'profile'}",
                f"--proxy-server={environment['http_proxy']}",
                "--proxy-bypass-list=127.0.0.1",
            ]
            options = {
                "goog:chromeOptions": {"args": arguments, "binary": binary, "prefs": _PREFERENCES}
            }
            timeouts = {"script": int(_PATIENCE * 1000)}
            wanted = {"alwaysMatch": {"browserName": "chrome", "timeouts": timeouts, **options}}
            session = call("POST", f"{address}/session", {"capabilities": wanted})
            browser = Browser(address, session["sessionId"])
            try:
                yield browser
            finally:
                browser.close()
        finally:
            process.terminate()
            process.communicate(timeout=_PATIENCE)

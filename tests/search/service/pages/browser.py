"""A browser that is signed in to a server of the service."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from servers import Running

CHROMIUM = os.environ.get("PAREDOWN_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE_MS = 180_000.0


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Debian's Chromium; the test is skipped where it or Playwright is missing."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium here; apt-get install chromium, or name it by PAREDOWN_TEST_CHROMIUM")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


class Visitor:
    """Someone in front of a browser.

    Attributes:
        page: The page that is shown.
        problems: What the browser complained about: errors of scripts, violations of the policy, failed answers.
    """

    def __init__(self, browser: Any, server: Running, width: int = 1300, scheme: str = "light") -> None:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        context.set_default_timeout(PATIENCE_MS)
        self.server, self.page = server, context.new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("response", self._note)
        self.page.on("console", self._listen)
        self.page.on("request", self._watch)

    def _note(self, response: Any) -> None:
        if response.status >= 400 and response.status != 401:
            self.problems.append(f"{response.status} {response.url}")

    def _listen(self, message: Any) -> None:
        if message.type == "error" and "401" not in message.text:
            self.problems.append(message.text)

    def _watch(self, request: Any) -> None:
        base = "/".join(self.server.url.split("/")[:3])
        if not request.url.startswith((base, "data:", "blob:")):
            self.problems.append(f"asks another server: {request.url}")

    def sign_in(self, token: str, path: str = "/") -> "Visitor":
        """Open a page, and sign in on the form that stands in its place."""
        self.page.goto(self.server.url + path)
        self.page.get_by_label("Access token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()
        return self.shows()

    def go(self, path: str) -> "Visitor":
        """Open a page."""
        self.page.goto(self.server.url + path)
        return self.shows()

    def shows(self) -> "Visitor":
        """Wait until a page is there."""
        self.page.wait_for_selector("#page h1, #page .problem")
        return self

    def picture(self, folder: Path, name: str) -> None:
        """Keep a picture of the whole page, small."""
        self.page.wait_for_timeout(1200)  # figures are drawn after their place is there
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=folder / f"{name}.jpg", full_page=True, type="jpeg", quality=60)

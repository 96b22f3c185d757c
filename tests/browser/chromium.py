"""A headless Chromium with a microphone fed from a file, and what the tests ask of its page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

TIMEOUT_S = 30
_BINARY = shutil.which("chromium") or shutil.which("google-chrome")
_DRIVER = shutil.which("chromedriver")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--window-size=1280,860",
)


def missing() -> str:
    """Why the console cannot be tried in a browser here; empty if it can."""
    if find_spec("selenium") is None:
        return "selenium is not installed"
    if not (_BINARY and _DRIVER):
        return "Chromium and its driver are not installed: apt-get install chromium chromium-driver"
    return ""


class Page:
    """The console, open in a browser.

    Attributes:
        driver: Selenium's.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def click(self, selector: str) -> None:
        self._find(selector).click()

    def type(self, selector: str, keys: str) -> None:
        self._find(selector).send_keys(keys)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a JavaScript function body returns, a promise awaited."""
        body = (
            "const done = arguments[arguments.length - 1];"
            f"(async (...args) => {{ {script} }})(...arguments)"
            ".then((value) => done({value}), (error) => done({error: String(error)}));"
        )
        answer = self.driver.execute_async_script(body, *arguments)
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def text(self, selector: str) -> str:
        """The text of all elements a selector finds, one line each."""
        return self.run(
            "return [...document.querySelectorAll(args[0])].map((n) => n.innerText).join('\\n')",
            selector,
        )

    def wait_for(self, what: str, condition: Callable[[], Any]) -> Any:
        """Wait until `condition` holds, and return what it did."""
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        try:
            return WebDriverWait(self.driver, TIMEOUT_S, poll_frequency=0.05).until(
                lambda _: condition()
            )
        except TimeoutException:
            seen = self.text("#transcript")
            raise AssertionError(f"waited in vain for {what}; the page shows:\n{seen}") from None

    def wait_for_text(self, selector: str, wanted: str) -> None:
        self.wait_for(f"{wanted!r} in {selector}", lambda: wanted in self.text(selector))

    def events(self, side: str = "server") -> list[str]:
        """The types of the events in the inspector, in their order."""
        rows = self.run(
            "return [...document.querySelectorAll(`.event.${args[0]} .type`)]"
            ".map((n) => n.textContent)",
            side,
        )
        return list(rows)

    def event(self, event_type: str) -> dict[str, Any]:
        """The last event of a type, as the inspector shows it."""
        text = self.run(
            """
            const row = [...document.querySelectorAll('.event')]
              .filter((n) => n.querySelector('.type').textContent === args[0]).at(-1);
            row.open = true;
            while (!row.querySelector('pre')) await new Promise((r) => setTimeout(r, 20));
            return row.querySelector('pre').textContent;
            """,
            event_type,
        )
        return json.loads(text)

    def complaints(self) -> list[str]:
        """What the browser's console has at level WARNING or above."""
        entries = self.driver.get_log("browser")
        return [e["message"] for e in entries if e["level"] in {"WARNING", "SEVERE"}]

    def _find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)


@contextmanager
def open_page(url: str, microphone: Path, *flags: str) -> Generator[Page]:
    """Open `url` in a fresh browser whose microphone hears a sound file once.

    Args:
        url: The page.
        microphone: A WAV file; it starts when the page opens the microphone.
        flags: Further command-line flags.
    """
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = _BINARY or ""
    recording = f"--use-file-for-fake-audio-capture={microphone}%noloop"
    for flag in (*_FLAGS, recording, *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(_DRIVER))
    try:
        driver.set_script_timeout(TIMEOUT_S)
        driver.get(url)
        page = Page(driver)
        page.wait_for("the page", lambda: page.run("return document.body.dataset.ready"))
        yield page
    finally:
        driver.quit()

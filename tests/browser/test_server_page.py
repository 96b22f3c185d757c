"""The operator's page of the console in a browser: engines, their check, and edits of `.env`."""

from __future__ import annotations

import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.browser.chromium import Page, missing, open_page
from tests.browser.test_console import recording
from tests.clients.gateway import Gateway, running_gateway

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")

_SCRIPT = Path(__file__).parent / "script.yaml"
_ENGINES = {"STT_PROVIDER": "scripted", "SCRIPT_FILE": str(_SCRIPT)}
_KEY = "sk-operator"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server_page")


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Generator[Gateway]:
    with running_gateway(folder, TTS_PROVIDER="tone", **_ENGINES) as running:
        yield running


@pytest.fixture
def page(gateway: Gateway, folder: Path, tmp_path: Path) -> Generator[Page]:
    (folder / ".env").write_text("# mine\nTTS_VOICE=cmn\nOPENAI_API_KEY=sk-hush\n")
    with open_page(f"http://localhost:{gateway.port}/#server", recording(tmp_path)) as opened:
        yield opened
        assert [c for c in opened.complaints() if "400 (Bad Request)" not in c] == []


def unfold(page: Page, section: str) -> None:
    page.run(
        "const group = document.querySelector(`[data-section=${args[0]}]`);"
        "if (!group.open) group.querySelector('summary').click();",
        section,
    )


def edit(page: Page, name: str, text: str) -> None:
    page.run(
        "const field = document.querySelector(`#env-${args[0]}`); field.value = args[1];"
        "field.dispatchEvent(new Event('input', {bubbles: true}))",
        name,
        text,
    )


def save(page: Page) -> str:
    page.run("document.querySelector('#server-status').textContent = ''")
    page.run("document.querySelector('#server-form').requestSubmit()")
    page.wait_for("the answer", lambda: page.text("#server-status"))
    return page.text("#server-status")


def test_the_engines_are_shown_with_their_reasons_and_checked(page: Page) -> None:
    page.wait_for_text("#engines", "STT_PROVIDER=scripted")
    assert "TTS_PROVIDER=tone" in page.text("#engines")
    page.click("#doctor")
    page.wait_for_text("#findings", "Every engine works.")
    rows = page.text("#findings li").splitlines()
    assert [row for row in rows if row in {"TTS", "LLM", "STT"}] == ["TTS", "LLM", "STT"]


def test_a_change_is_saved_and_waits_for_a_restart(page: Page, folder: Path) -> None:
    page.wait_for_text("#server-groups", "Text to speech")
    unfold(page, "tts")
    edit(page, "TTS_VOICE", "en-us+f3")
    edit(page, "ESPEAK_RATE_WPM", "150")
    assert "TTS_VOICE, ESPEAK_RATE_WPM" in page.text("#server-status")
    assert save(page) == "Saved. They take effect when the server is started again."
    assert (folder / ".env").read_text() == (
        "# mine\nTTS_VOICE=en-us+f3\nOPENAI_API_KEY=sk-hush\nESPEAK_RATE_WPM=150\n"
    )
    assert "TTS_VOICE" in page.text("#server-notice")
    page.wait_for_text("[data-name=ESPEAK_RATE_WPM]", "waits for a restart")


def test_a_refusal_is_shown_at_its_setting_and_nothing_is_lost(page: Page, folder: Path) -> None:
    page.wait_for_text("#server-groups", "Text to speech")
    before = (folder / ".env").read_text()
    unfold(page, "tts")
    edit(page, "TTS_VOICE", "other")
    edit(page, "ESPEAK_RATE_WPM", "9000")
    assert save(page).startswith("ESPEAK_RATE_WPM: must be ")
    assert (folder / ".env").read_text() == before
    assert "450" in page.text("[data-name=ESPEAK_RATE_WPM] .problem")
    assert page.run("return document.activeElement.id") == "env-ESPEAK_RATE_WPM"
    assert page.run("return document.querySelector('#env-TTS_VOICE').value") == "other"
    page.click("#server-discard")
    assert page.run("return document.querySelector('#env-TTS_VOICE').value") == "cmn"


def test_a_secret_is_never_shown_and_can_be_replaced_or_removed(page: Page, folder: Path) -> None:
    page.wait_for_text("#server-groups", "OpenAI")
    unfold(page, "openai")
    field = "const field = document.querySelector('#env-OPENAI_API_KEY');"
    assert page.run(f"{field} return [field.value, field.placeholder, field.type]") == [
        "",
        "set; never shown",
        "password",
    ]
    edit(page, "OPENAI_API_KEY", "sk-new")
    edit(page, "OPENAI_API_KEY", "")
    assert page.text("#server-status") == ""  # nothing typed leaves it as it was
    edit(page, "OPENAI_API_KEY", "sk-new")
    assert save(page).startswith("Saved.")
    assert "OPENAI_API_KEY=sk-new\n" in (folder / ".env").read_text()
    page.run("document.querySelector('[data-name=OPENAI_API_KEY] button').click()")
    assert save(page).startswith("Saved.")
    assert "OPENAI_API_KEY" not in (folder / ".env").read_text()
    assert "sk-" not in page.run("return document.documentElement.outerHTML")


def test_settings_are_found_in_both_languages_and_what_is_typed_outlasts_the_switch(
    page: Page,
) -> None:
    page.wait_for_text("#server-groups", "Text to speech")
    page.type("#server-filter", "speaking rate")
    assert page.text(".name label") == "ESPEAK_RATE_WPM"
    edit(page, "ESPEAK_RATE_WPM", "99")
    page.click("#language")
    page.run("document.querySelector('#server-filter').value = ''")
    page.type("#server-filter", "语速")
    assert page.text(".name label") == "ESPEAK_RATE_WPM"
    assert page.run("return document.querySelector('#env-ESPEAK_RATE_WPM').value") == "99"
    page.run("document.querySelector('#server-filter').value = ''")
    page.type("#server-filter", " ")
    page.click("#server-set")
    assert page.text(".name label").splitlines() == [
        "SERVER_PORT",  # by --port 0
        "OPENAI_API_KEY",
        "STT_PROVIDER",
        "SCRIPT_FILE",
        "TTS_PROVIDER",
        "TTS_VOICE",
    ]


def test_every_control_has_a_name_and_a_phone_shows_it_whole(page: Page) -> None:
    page.wait_for_text("#server-groups", "Text to speech")
    for section in ("server", "openai", "llm"):
        unfold(page, section)
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert page.run("return document.documentElement.scrollWidth") == 360
    wide = page.run(
        "return [...document.querySelectorAll('#view-server *')]"
        ".filter((n) => n.getBoundingClientRect().right > 361).map((n) => n.outerHTML)"
    )
    assert wide == []
    tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})
    roles = {"button", "textbox", "searchbox", "combobox", "checkbox"}
    controls = [n for n in tree["nodes"] if n.get("role", {}).get("value") in roles]
    assert len(controls) > 25
    assert [n for n in controls if not n.get("name", {}).get("value")] == []


def test_whoever_is_not_the_operator_is_told_so_and_may_enter_the_key(tmp_path: Path) -> None:
    with (
        running_gateway(
            tmp_path, "--host", "0.0.0.0", API_KEY=_KEY, TTS_PROVIDER="tone", **_ENGINES
        ) as gateway,
        open_page(f"http://{own_address()}:{gateway.port}/#server", recording(tmp_path)) as page,
    ):
        page.wait_for_text("#server-refused", "with the API key")
        assert page.run("return document.querySelector('#server-page').hidden")
        page.click("#server-key")
        page.type("[name=key]", f"{_KEY}\t")
        page.click("#tab-server")
        page.wait_for_text("#engines", "STT_PROVIDER=scripted")


def own_address() -> str:
    """An address of this machine other than loopback; the test is skipped where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine is in no network")
        address = str(probe.getsockname()[0])
    if address.startswith("127."):
        pytest.skip("this machine is in no network")
    return address


def test_the_console_works_from_another_machine_but_not_under_a_strangers_name(
    tmp_path: Path,
) -> None:
    address = own_address()
    with running_gateway(tmp_path, "--host", "0.0.0.0", TTS_PROVIDER="tone", **_ENGINES) as gateway:
        with open_page(f"http://{address}:{gateway.port}/", recording(tmp_path)) as page:
            page.type("#message", "hello\n")
            page.wait_for_text(".bubble.assistant", "hello")
            page.click("#talk")
            page.wait_for_text(".note.error", "only to pages from localhost or over https")
            assert page.complaints() == []
        rebound = f"--host-resolver-rules=MAP evil.example {address}"
        url = f"http://evil.example:{gateway.port}/"
        with open_page(url, recording(tmp_path), rebound) as page:
            page.type("#message", "hello\n")
            page.wait_for_text(".note.error", "ALLOWED_ORIGINS")
            page.click("#tab-server")
            page.wait_for_text("#server-refused", "on the machine the server runs on")

"""Conversations in the console, held by a browser with a microphone that hears a recording."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.browser.chromium import Page, missing, open_page
from tests.clients.gateway import Gateway, running_gateway

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")

_FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
_SCRIPT = Path(__file__).parent / "script.yaml"
_BYTES_PER_S = 48_000

Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    folder = tmp_path_factory.mktemp("console_gateway")
    settings = {"STT_PROVIDER": "scripted", "TTS_PROVIDER": "tone", "SCRIPT_FILE": str(_SCRIPT)}
    with running_gateway(folder, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def locked_gateway(tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    folder = tmp_path_factory.mktemp("locked_console_gateway")
    with running_gateway(
        folder, API_KEY="sk-console", TTS_PROVIDER="tone", SCRIPT_FILE=str(_SCRIPT)
    ) as running:
        yield running


@pytest.fixture
def open_console(gateway: Gateway, tmp_path: Path) -> Open:
    """Opens the console; afterwards the browser must have nothing to complain about."""

    @contextmanager
    def opened(*heard: str | float, flags: tuple[str, ...] = ()) -> Generator[Page]:
        url = f"http://127.0.0.1:{gateway.port}/"
        with open_page(url, recording(tmp_path, *heard), *flags) as page:
            yield page
            assert page.complaints() == []

    return opened


def recording(folder: Path, *heard: str | float) -> Path:
    """A WAV file of clips, by name, and of silences, in seconds."""
    path = folder / "microphone.wav"
    with wave.open(str(path), "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(24_000)
        for part in heard or (1.0,):
            if isinstance(part, str):
                with wave.open(str(_FIXTURES / f"{part}.wav"), "rb") as clip:
                    target.writeframes(clip.readframes(clip.getnframes()))
            else:
                target.writeframes(bytes(int(part * _BYTES_PER_S / 2) * 2))
    return path


def test_a_spoken_turn_is_transcribed_answered_and_timed(open_console: Open) -> None:
    with open_console(1.0, "weather", 20.0) as page:
        page.click("#talk")
        page.wait_for_text(".bubble.user", "what is the weather in Paris")
        # The page itself answers the call, and the answer is spoken.
        page.wait_for_text(".bubble.tool", "get_weather")
        page.wait_for_text(".bubble.assistant", "The report says:")
        page.wait_for_text(".bubble.assistant", "degrees in Paris.")
        assert "input_audio_buffer.append" in page.events("client")
        assert "response.output_audio.delta" in page.events()
        page.click("#tab-latency")
        for stage in ("end detected", "transcript", "first words", "first sound"):
            page.wait_for_text("#turns .card", stage)
        # Silence after the reply is no turn.
        assert page.events().count("input_audio_buffer.committed") == 1
        page.click("#talk")
        page.wait_for_text("#talk", "Start talking")


def test_speaking_into_a_reply_stops_it_and_tells_what_was_heard(open_console: Open) -> None:
    with open_console(20.0) as page:
        page.type("#message", "tell me a story\n")
        page.wait_for("sound", lambda: "response.output_audio.delta" in page.events())
        page.type("#file", str(_FIXTURES / "hello.wav"))
        page.wait_for(
            "the truncation", lambda: "conversation.item.truncated" in page.events("server")
        )
        sent, told = page.event("conversation.item.truncate"), page.event("response.done")
        assert 0 < sent["audio_end_ms"] < 15_000
        assert told["response"]["status"] in {"cancelled", "completed"}
        page.wait_for_text(".bubble.assistant .tag", "interrupted after")
        page.wait_for("the unheard words", lambda: page.text(".bubble.assistant .unheard"))
        assert "Once upon" in page.text(".bubble.assistant")
        # The one who interrupted is answered.
        page.wait_for("the next reply", lambda: page.events().count("response.created") >= 2)


def test_the_microphone_interrupts_too(open_console: Open) -> None:
    with open_console(3.0, "hello", 20.0) as page:
        page.type("#message", "tell me a story\n")
        page.wait_for("sound", lambda: "response.output_audio.delta" in page.events())
        page.click("#talk")
        page.wait_for("the truncation", lambda: "conversation.item.truncated" in page.events())
        assert page.event("conversation.item.truncate")["audio_end_ms"] > 1_000


def test_a_typed_turn_streams_markdown_safely(open_console: Open) -> None:
    with open_console() as page:
        page.type("#message", "show me markdown\n")
        page.wait_for_text(".bubble.user", "show me markdown")
        page.wait_for_text(".bubble.assistant strong", "bold")
        page.wait_for_text(".bubble.assistant", "onerror=alert(1)>")
        assert page.text(".bubble.assistant code") == "code"
        links = page.run("return [...document.querySelectorAll('.bubble a')].map((a) => a.href)")
        assert links == ["https://example.com/"]
        assert page.run("return document.querySelector('.bubble img')") is None


def test_markdown_is_built_of_elements_and_soon_done(open_console: Open) -> None:
    with open_console() as page:
        shape = page.run(
            """
            const { renderMarkdown } = await import("/console/js/markdown.js");
            const shape = (node) => node.nodeType === 3 ? node.data
              : `<${node.localName}>${[...node.childNodes].map(shape).join("")}</>`;
            return [...renderMarkdown(args[0]).childNodes].map(shape);
            """,
            "# Head *one*\n- a\n- **b** c\n  1. d\n\n> quoted\n\n```js\n<b>*x*\n```\n"
            "|a|b|\n|-|-|\n|1|2|\n\nsnake_case_name and 2 * 3 * 4, <script>",
        )
        assert shape == [
            "<h3>Head <em>one</></>",
            "<ul><li>a</><li><strong>b</> c<ol><li>d</></></></>",
            "<blockquote><p>quoted</></>",
            "<pre><code><b>*x*</></>",
            "<div><table><thead><tr><th>a</><th>b</></></><tbody><tr><td>1</><td>2</></></></></>",
            "<p>snake_case_name and 2 * 3 * 4, <script></>",
        ]
        # Text made to make a parser go back and forth is no reason to hang.
        for hostile in ("*", "[", "`", "_", "> ", "- ", "# ", "|", "![](", "**a "):
            page.run(
                """
                const { renderMarkdown } = await import("/console/js/markdown.js");
                renderMarkdown(args[0].repeat(8000));
                """,
                hostile,
            )


def test_nothing_a_model_writes_becomes_markup_or_a_request(open_console: Open) -> None:
    hostile = [
        "<script>hacked = 1</script>",
        "<img src=x onerror='hacked = 1'>",
        "<svg/onload=hacked=1>",
        "<iframe srcdoc='<script>parent.hacked=1</script>'></iframe>",
        "![pixel](https://evil.example/pixel.png)",
        "[a](javascript:hacked=1) [b](JaVaScRiPt:hacked=1) [c](java\tscript:hacked=1)",
        "[d](data:text/html,<script>hacked=1</script>) [e](vbscript:x) [f](file:///etc/passwd)",
        '[g](https://x.example/"onmouseover="hacked=1)',
        "**<b onclick=hacked=1>**`<img src=x onerror=hacked=1>`",
        "|<img src=x onerror=hacked=1>|b|\n|-|-|\n|<script>hacked=1</script>|2|",
        "```html\n<script>hacked = 1</script>\n```",
        "> <base href=https://evil.example/>\n# <style>*{display:none}</style>",
        "<https://evil.example/> &lt;script&gt;hacked=1&lt;/script&gt;",
    ]
    with open_console() as page:
        names, attributes, links, hacked = page.run(
            """
            const { renderMarkdown } = await import("/console/js/markdown.js");
            const box = document.querySelector("#transcript");
            for (const text of args[0]) box.append(renderMarkdown(text));
            const all = [...box.querySelectorAll("*")];
            for (const node of all) node.dispatchEvent(new Event("mouseover"));
            await new Promise((resolve) => setTimeout(resolve, 200));
            return [
              [...new Set(all.map((n) => n.localName))],
              [...new Set(all.flatMap((n) => n.getAttributeNames()))],
              [...box.querySelectorAll("a")].map((a) => a.protocol),
              typeof hacked,
            ];
            """,
            hostile,
        )
        allowed = {"p", "a", "strong", "em", "code", "pre", "blockquote", "h3", "br", "div"}
        assert set(names) <= allowed | {"table", "thead", "tbody", "tr", "th", "td"}
        assert set(attributes) <= {"href", "target", "rel", "class", "tabindex"}
        assert set(links) == {"https:"}
        assert hacked == "undefined"


def test_the_microphone_is_resampled_without_aliases(open_console: Open) -> None:
    with open_console() as page:
        for rate_hz in (24_000, 44_100, 48_000):
            for tone_hz, heard in ((1_000, 1.0), (8_000, 1.0), (15_000, 0.0)):
                if tone_hz * 2 > rate_hz:
                    continue
                count, crossings, amplitude = page.run(
                    """
                    const [rate, tone] = args;
                    const context = new OfflineAudioContext(1, rate, rate);
                    await context.audioWorklet.addModule("/console/worklets/capture.js");
                    const capture = new AudioWorkletNode(context, "capture", {numberOfOutputs: 0});
                    const heard = [];
                    capture.port.onmessage = ({ data }) => heard.push(...data.pcm);
                    const source = new OscillatorNode(context, { frequency: tone });
                    source.connect(capture);
                    source.start();
                    await context.startRendering();
                    await new Promise((resolve) => setTimeout(resolve, 300));
                    const steady = heard.slice(2400, 22080);
                    let crossings = 0;
                    for (let i = 1; i < steady.length; i += 1) {
                      if (steady[i - 1] < 0 && steady[i] >= 0) crossings += 1;
                    }
                    const power = steady.reduce((sum, value) => sum + (value / 32768) ** 2, 0);
                    return [heard.length, crossings, Math.sqrt(2 * power / steady.length)];
                    """,
                    rate_hz,
                    tone_hz,
                )
                assert count >= 22_080
                assert amplitude == pytest.approx(heard, abs=0.03)
                if heard:
                    assert crossings == pytest.approx(tone_hz * 0.82, abs=2)


def test_replies_are_played_without_gaps_and_counted(open_console: Open) -> None:
    with open_console() as page:
        page.click("#message")
        cut = page.run(
            """
            const { Player } = await import("/console/js/player.js");
            const player = new Player();
            player.open();
            player.push("heard", new Int16Array(2400));
            for (let i = 0; i < 20; i += 1) player.push("cut", new Int16Array(2400));
            player.push("unheard", new Int16Array(2400));
            await new Promise((resolve) => setTimeout(resolve, 700));
            return [player.busy, player.stop(), player.busy, player.stop()];
            """
        )
        busy, [first, second], still_busy, nothing = cut
        assert (busy, still_busy, nothing) == (True, False, [])
        assert first["itemId"] == "cut"
        assert 0 < first["playedMs"] < 2_000
        assert second == {"itemId": "unheard", "playedMs": 0}


def test_audio_that_comes_after_the_interruption_is_not_played(open_console: Open) -> None:
    with open_console() as page:
        page.click("#message")
        sent, queued = page.run(
            """
            const { Session } = await import("/console/js/session.js");
            const sent = [], queued = [];
            let socket;
            window.WebSocket = class {
              static OPEN = 1;
              readyState = 1;
              constructor() { socket = this; }
              send(text) { sent.push(JSON.parse(text)); }
            };
            const player = {
              push: (itemId) => queued.push(itemId),
              stop: () => (queued.length ? [{ itemId: queued.at(-1), playedMs: 120 }] : []),
            };
            const session = new Session(player);
            session.connect({});
            const tell = (event) => socket.onmessage({ data: JSON.stringify(event) });
            const audio = (id) =>
              tell({ type: "response.output_audio.delta", item_id: id, delta: "AAAA" });
            const detection = { type: "server_vad", interrupt_response: true };
            tell({
              type: "session.created",
              session: { audio: { input: { turn_detection: detection } } },
            });
            audio("item_1");
            tell({ type: "input_audio_buffer.speech_started", item_id: "item_2" });
            audio("item_1");
            audio("item_3");
            return [sent, queued];
            """
        )
        assert queued == ["item_1", "item_3"]
        assert [(event["type"], event["item_id"], event["audio_end_ms"]) for event in sent] == [
            ("conversation.item.truncate", "item_1", 120)
        ]


def test_a_file_is_played_in_as_speech(open_console: Open) -> None:
    with open_console() as page:
        page.click("#message")  # as a browser wants it before it lets a page sound
        page.type("#file", str(_FIXTURES / "weather.wav"))
        page.wait_for_text(".bubble.user", "what is the weather in Paris")
        page.wait_for_text(".bubble.assistant", "The report says:")
        page.wait_for_text("#upload-label", "Play a file")


def test_a_file_without_sound_is_refused_kindly(open_console: Open) -> None:
    with open_console() as page:
        page.type("#file", str(_SCRIPT))
        page.wait_for_text(".note.error", "script.yaml: This file holds no sound")


def test_the_button_is_held_to_talk_when_there_is_no_turn_detection(open_console: Open) -> None:
    with open_console("weather", "weather", "weather") as page:
        page.run(
            "const s = document.querySelector('[name=turns]'); s.value = 'manual';"
            "s.dispatchEvent(new Event('change', {bubbles: true}))"
        )
        page.click("#talk")
        page.wait_for_text("#talk", "Hold to talk")
        assert "input_audio_buffer.append" not in page.events("client")
        page.run(
            "const talk = document.querySelector('#talk'); talk.focus();"
            "talk.dispatchEvent(new KeyboardEvent('keydown', {key: ' '}))"
        )
        page.wait_for("audio", lambda: page.events("client").count("input_audio_buffer.append") > 9)
        page.run(
            "document.querySelector('#talk').dispatchEvent(new KeyboardEvent('keyup', {key: ' '}))"
        )
        page.wait_for_text(".bubble.user", "what is the weather in Paris")
        page.wait_for_text(".bubble.assistant", "The report says:")


def test_settings_become_the_session(open_console: Open) -> None:
    with open_console() as page:
        page.type("[name=instructions]", "Be brief.")
        page.type("#message", "hello\n")
        page.wait_for_text(".bubble.assistant", "hello")
        session = page.event("session.updated")["session"]
        assert session["instructions"] == "Be brief."
        assert [tool["name"] for tool in session["tools"]] == ["get_weather"]
        page.run(
            "const f = document.querySelector('[name=silence_duration_ms]'); f.value = '700';"
            "f.dispatchEvent(new Event('change', {bubbles: true}))"
        )
        page.wait_for("the answer", lambda: page.events().count("session.updated") == 2)
        changed = page.event("session.updated")["session"]
        assert changed["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 700
        assert page.text("#settings-status") == "Applied."


def test_the_inspector_filters_and_sends(open_console: Open) -> None:
    with open_console() as page:
        page.type("#message", "hello\n")
        page.wait_for("the reply", lambda: "response.done" in page.events())
        page.click("#tab-events")
        page.type("#event-filter", "response.done")
        assert page.text(".event:not([hidden]) .type") == "response.done"
        page.type("#raw-event", '{"type": "no.such.event"}')
        page.click("#raw-form [type=submit]")
        page.wait_for_text(".note.error", "no.such.event")
        page.type("#raw-event", "}")
        page.click("#raw-form [type=submit]")
        page.wait_for_text("#raw-status", "not a JSON object")


def test_an_event_can_be_copied_alone_or_with_the_others_shown(open_console: Open) -> None:
    with open_console() as page:
        allowed = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
        page.driver.execute_cdp_cmd("Browser.grantPermissions", allowed)
        page.type("#message", "hello\n")
        page.wait_for("the reply", lambda: "response.done" in page.events())
        page.click("#tab-events")
        page.type("#event-filter", "session.created")
        page.click(".event:not([hidden]) summary")
        page.wait_for_text(".event .payload button", "Copy")
        page.click(".event .payload button")
        page.wait_for_text(".event .payload button", "Copied")
        copied = page.run("return navigator.clipboard.readText()")
        assert json.loads(copied) == page.event("session.created")
        page.click("#event-copy")
        page.wait_for_text("#event-copy", "Copied")
        lines = page.run("return navigator.clipboard.readText()").splitlines()
        assert [json.loads(line)["type"] for line in lines] == ["session.created"]


def test_it_is_used_by_keyboard_alone(open_console: Open) -> None:
    with open_console() as page:
        page.type("body", "\ue004")  # Tab: the link that skips to the message
        assert page.run("return document.activeElement.className") == "skip"
        page.type(".skip", "\n")
        page.run("document.activeElement.blur()")
        page.type("#message", "tell me a story\n")
        page.wait_for("sound", lambda: "response.output_audio.delta" in page.events())
        page.type("#message", "\ue00c")  # Escape: be silent
        page.wait_for("the truncation", lambda: "conversation.item.truncated" in page.events())
        tabs = [page.run("return document.querySelector('[aria-selected=true]').dataset.view")]
        for key in ("\ue014", "\ue014", "\ue014", "\ue014", "\ue012", "\ue011"):
            page.run("document.querySelector('[aria-selected=true]').focus()")
            page.type("[role=tab][aria-selected=true]", key)  # right, left, Home
            tabs.append(page.run("return document.activeElement.dataset.view"))
        first = "settings"
        assert tabs == [first, "events", "latency", "server", first, "server", first]


def test_the_waveform_shows_both_voices_and_where_speech_was_detected(open_console: Open) -> None:
    with open_console() as page:
        page.click("#message")
        page.type("#file", str(_FIXTURES / "weather.wav"))
        page.wait_for_text(".bubble.assistant", "The report says:")

        def colours() -> list[str]:
            return page.run(
                """
                const { width, height } = document.querySelector("#waveform");
                const copy = new OffscreenCanvas(width, height)
                  .getContext("2d", { willReadFrequently: true });
                copy.drawImage(document.querySelector("#waveform"), 0, 0);
                const { data } = copy.getImageData(0, 0, width, height);
                const seen = new Set();
                for (let i = 0; i < data.length; i += 4) {
                  if (data[i + 3] === 255) seen.add(`${data[i]},${data[i + 1]},${data[i + 2]}`);
                  else if (data[i + 3] > 20) seen.add("shade");
                }
                return [...seen];
                """
            )

        for colour in ("59,91,219", "12,133,113", "shade"):
            page.wait_for(colour, lambda colour=colour: colour in colours())


def test_it_speaks_chinese_and_goes_dark(open_console: Open) -> None:
    with open_console() as page:
        page.click("#language")
        assert page.text("#talk-label") == "开始说话"
        assert page.run("return document.documentElement.lang") == "zh-Hans"
        before = page.run("return getComputedStyle(document.body).backgroundColor")
        page.click("#theme")
        assert page.run("return getComputedStyle(document.body).backgroundColor") != before
        # Both choices outlast the page.
        page.driver.refresh()
        page.wait_for_text("#talk-label", "开始说话")


def test_a_phone_shows_one_view_at_a_time_and_nothing_too_wide(open_console: Open) -> None:
    with open_console() as page:
        size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for view in ("talk", "settings", "events", "latency", "server"):
            page.click(f"#tab-{view}")
            shown = page.run(
                "return [...document.querySelectorAll('.view')]"
                ".filter((n) => n.offsetParent !== null).map((n) => n.id)"
            )
            assert shown == [f"view-{view}"]
            assert page.run("return document.documentElement.scrollWidth") == 360
            assert page.run("return document.documentElement.scrollHeight") == 740


def test_every_control_has_a_name(open_console: Open) -> None:
    with open_console() as page:
        tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})
        roles = {"button", "textbox", "searchbox", "combobox", "checkbox", "spinbutton", "tab"}
        controls = [n for n in tree["nodes"] if n.get("role", {}).get("value") in roles]
        assert len(controls) > 15
        assert [n for n in controls if not n.get("name", {}).get("value")] == []


def test_a_locked_server_asks_for_the_key(locked_gateway: Gateway, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{locked_gateway.port}/"
    with open_page(url, recording(tmp_path)) as page:
        page.type("#message", "hello\n")
        page.wait_for_text(".note.error", "The server wants an API key")
        page.type("[name=key]", "sk-console\t")
        page.type("#message", "\n")
        page.wait_for_text(".bubble.assistant", "hello")
        assert page.run("return JSON.stringify(localStorage)").count("sk-console") == 0
        assert page.complaints() == []

// Every event of the wire, to look through, copy, and send by hand.

import { byId, isAtEnd, make } from "./dom.js";
import { t } from "./i18n.js";

const MAX_ROWS = 1500;
const MAX_AUDIO_ROWS = 500; // fifty come each second: they must not push the others out
const AUDIO = new Set(["input_audio_buffer.append", "response.output_audio.delta"]);
const TEMPLATES = {
  "response.create": { type: "response.create" },
  "response.cancel": { type: "response.cancel" },
  "conversation.item.create": {
    type: "conversation.item.create",
    item: { type: "message", role: "user", content: [{ type: "input_text", text: "Hello!" }] },
  },
  "session.update": { type: "session.update", session: { type: "realtime", instructions: "" } },
  "input_audio_buffer.clear": { type: "input_audio_buffer.clear" },
};

export class Inspector {
  #session;
  #rows = [];
  #audioRows = 0;
  #list = byId("event-list");
  #filter = byId("event-filter");
  #side = byId("event-side");
  #audio = byId("event-audio");
  #firstAt = 0;
  #shown = 0;

  constructor(session) {
    this.#session = session;
    session.on("sent", (event) => this.#add("client", event));
    session.on("received", (event) => this.#add("server", event));
    for (const control of [this.#filter, this.#side, this.#audio]) {
      control.addEventListener("input", () => this.#refilter());
    }
    byId("event-clear").addEventListener("click", () => this.clear());
    byId("event-copy").addEventListener("click", ({ target }) => this.#copyAll(target));
    this.#rawForm();
  }

  clear() {
    this.#rows = [];
    this.#audioRows = 0;
    this.#list.replaceChildren();
    this.#shown = 0;
    this.#count();
  }

  #add(side, event) {
    const now = performance.now();
    if (event.type === "session.created") this.#firstAt = now;
    const kept = withoutAudio(event);
    const isAudio = AUDIO.has(event.type);
    const text = JSON.stringify(kept).toLowerCase();
    const row = { side, event: kept, at: now - this.#firstAt, text, isAudio };
    row.node = this.#node(row);
    this.#rows.push(row);
    if (isAudio) this.#audioRows += 1;
    const follow = isAtEnd(this.#list);
    this.#list.append(row.node);
    this.#show(row);
    if (this.#audioRows > MAX_AUDIO_ROWS) this.#dropOldest(true);
    if (this.#rows.length - this.#audioRows > MAX_ROWS) this.#dropOldest(false);
    this.#count();
    if (follow) this.scrollToEnd();
  }

  scrollToEnd() {
    this.#list.scrollTop = this.#list.scrollHeight;
  }

  #dropOldest(isAudio) {
    const [gone] = this.#rows.splice(
      this.#rows.findIndex((row) => row.isAudio === isAudio),
      1,
    );
    if (isAudio) this.#audioRows -= 1;
    if (!gone.node.hidden) this.#shown -= 1;
    gone.node.remove();
  }

  #node(row) {
    const node = make("details", { class: `event ${row.side}`, role: "listitem" });
    if (row.event.type === "error") node.classList.add("error");
    node.append(
      make(
        "summary",
        {},
        make("span", { class: "arrow", "aria-hidden": "true" }, row.side === "client" ? "↑" : "↓"),
        make("span", { class: "sr-only" }, t(row.side === "client" ? "sent" : "received")),
        make("span", { class: "type" }, ...breakable(String(row.event.type ?? "?"))),
        make("time", {}, `${(Math.max(0, row.at) / 1000).toFixed(3)}`),
      ),
    );
    // The text of an event is built when somebody looks.
    node.addEventListener("toggle", () => node.open && this.#expand(node, row), { once: true });
    return node;
  }

  #expand(node, row) {
    const json = JSON.stringify(row.event, null, 2);
    const copy = make("button", { type: "button", class: "small" }, t("copy"));
    copy.addEventListener("click", () => copyText(json, copy));
    node.append(make("div", { class: "payload" }, copy, make("pre", { tabindex: "0" }, json)));
  }

  #show(row) {
    const needle = this.#filter.value.trim().toLowerCase();
    const visible =
      (this.#side.value === "all" || this.#side.value === row.side) &&
      (this.#audio.checked || !row.isAudio) &&
      (needle === "" || row.text.includes(needle));
    row.node.hidden = !visible;
    if (visible) this.#shown += 1;
    return visible;
  }

  #refilter() {
    this.#shown = 0;
    for (const row of this.#rows) this.#show(row);
    this.#count();
  }

  #count() {
    byId("event-count").textContent = `${this.#shown} / ${this.#rows.length}`;
  }

  #copyAll(button) {
    const shown = this.#rows.filter((row) => !row.node.hidden).map((row) => row.event);
    copyText(shown.map((event) => JSON.stringify(event)).join("\n"), button);
  }

  #rawForm() {
    const [form, field, picker] = [byId("raw-form"), byId("raw-event"), byId("raw-template")];
    for (const name of Object.keys(TEMPLATES)) picker.append(make("option", { value: name }, name));
    picker.addEventListener("input", () => {
      if (picker.value) field.value = JSON.stringify(TEMPLATES[picker.value], null, 2);
      picker.value = "";
      byId("raw-status").textContent = "";
    });
    form.addEventListener("submit", (submitted) => {
      submitted.preventDefault();
      byId("raw-status").textContent = this.#sendRaw(field.value);
    });
  }

  #sendRaw(text) {
    let event;
    try {
      event = JSON.parse(text);
    } catch (error) {
      return `${t("notJson")} ${error.message}`;
    }
    if (typeof event !== "object" || event === null || Array.isArray(event)) return t("notJson");
    return this.#session.send(event) === null ? t("notConnected") : t("sentOk");
  }
}

/** A long name that may be broken after its dots. */
function breakable(name) {
  return name.split(/(?<=\.)/).flatMap((part) => [part, make("wbr")]);
}

/** The event with its audio replaced by its size: megabytes of base64 help nobody. */
function withoutAudio(event) {
  return JSON.parse(
    JSON.stringify(event, (key, value) =>
      (key === "audio" || key === "delta") && typeof value === "string" && value.length > 512
        ? `… ${Math.round((value.length * 3) / 4)} bytes`
        : value,
    ),
  );
}

async function copyText(text, button) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = t("copied");
  } catch {
    button.textContent = t("copyFailed");
  }
  setTimeout(() => {
    button.textContent = label;
  }, 1200);
}

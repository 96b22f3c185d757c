// The conversation as bubbles that grow while it is spoken.

import { isAtEnd, make } from "./dom.js";
import { t } from "./i18n.js";
import { renderMarkdown } from "./markdown.js";

export class Transcript {
  #box;
  #announcer;
  #session;
  #bubbles = new Map(); // item id → Bubble
  #stale = new Set();
  #frame = 0;

  /**
   * @param box the element to fill
   * @param announcer a live region that hears whole sentences instead of every delta
   */
  constructor(box, announcer, session) {
    this.#box = box;
    this.#announcer = announcer;
    this.#session = session;
    session.on("received", (event) => this.#take(event));
    session.on("call", (item) => this.#askForOutput(item));
  }

  clear() {
    this.#bubbles.clear();
    this.#box.replaceChildren();
  }

  /** A line of the page's own, such as an error. */
  note(text, kind = "info") {
    const follow = isAtEnd(this.#box);
    this.#box.append(make("p", { class: `note ${kind}` }, text));
    if (follow) this.#box.scrollTop = this.#box.scrollHeight;
    this.#announcer.textContent = text;
  }

  #take(event) {
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        this.#bubble(event.item_id, "user").pending("listening");
        break;
      case "input_audio_buffer.speech_stopped":
        this.#bubble(event.item_id, "user").pending("transcribing");
        break;
      case "conversation.item.added":
      case "conversation.item.done":
        this.#item(event);
        break;
      case "conversation.item.input_audio_transcription.delta":
        this.#grow(event.item_id, event.delta);
        break;
      case "conversation.item.input_audio_transcription.completed":
        this.#bubble(event.item_id, "user").become(event.transcript);
        this.#redraw(event.item_id);
        break;
      case "conversation.item.input_audio_transcription.failed":
        this.#bubble(event.item_id, "user").become("");
        this.#bubble(event.item_id, "user").tag("notUnderstood");
        this.#redraw(event.item_id);
        break;
      case "response.output_text.delta":
      case "response.output_audio_transcript.delta":
        this.#grow(event.item_id, event.delta);
        break;
      case "response.function_call_arguments.done":
        this.#bubbles.get(event.item_id)?.call(event.arguments);
        break;
      case "response.output_item.done":
        this.#finish(event.item);
        break;
      case "conversation.item.truncated":
        this.#truncated(event);
        break;
      case "conversation.item.retrieved":
        this.#bubbles.get(event.item.id)?.heard(event.item.content?.[0]?.transcript ?? "");
        this.#redraw(event.item.id);
        break;
      case "conversation.item.deleted":
        this.#bubbles.get(event.item_id)?.node.remove();
        this.#bubbles.delete(event.item_id);
        break;
      case "response.done":
        if (event.response.status === "failed") {
          this.note(event.response.status_details?.error?.message ?? t("failed"), "error");
        }
        break;
      case "error":
        // A reply may end in the moment in which it is stopped.
        if (event.error.code !== "response_cancel_not_active") {
          this.note(event.error.message, "error");
        }
        break;
      default:
    }
  }

  #item({ item, previous_item_id: previous }) {
    if (item.type === "message") {
      const bubble = this.#bubble(item.id, item.role, previous);
      const [part] = item.content ?? [];
      const text = part?.text ?? part?.transcript ?? "";
      if (text && bubble.text === "") {
        bubble.become(text);
        this.#redraw(item.id);
      } else if (part?.type === "input_audio" && bubble.text === "" && part.transcript === null) {
        bubble.pending("transcribing");
      }
    } else if (item.type === "function_call") {
      this.#bubble(item.id, "tool", previous).name(item.name);
    } else if (item.type === "function_call_output") {
      const bubble = this.#bubble(item.id, "tool", previous);
      bubble.name("→");
      bubble.call(item.output);
    }
  }

  #bubble(id, role, previous) {
    const known = this.#bubbles.get(id);
    if (known) return known;
    const follow = isAtEnd(this.#box);
    const bubble = new Bubble(id, role);
    this.#bubbles.set(id, bubble);
    const before = this.#bubbles.get(previous)?.node;
    if (before) before.after(bubble.node);
    else this.#box.append(bubble.node);
    if (follow) this.#box.scrollTop = this.#box.scrollHeight;
    return bubble;
  }

  #grow(id, delta) {
    const bubble = this.#bubbles.get(id);
    if (!bubble) return;
    bubble.append(delta);
    this.#redraw(id);
  }

  #redraw(id) {
    this.#stale.add(id);
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      const follow = isAtEnd(this.#box);
      for (const stale of this.#stale) this.#bubbles.get(stale)?.draw();
      this.#stale.clear();
      if (follow) this.#box.scrollTop = this.#box.scrollHeight;
    });
  }

  #finish(item) {
    const bubble = this.#bubbles.get(item.id);
    if (!bubble) return;
    bubble.done();
    this.#redraw(item.id);
    if (item.type === "message") this.#announcer.textContent = bubble.text;
    if (item.status === "incomplete") bubble.cutShort();
  }

  #truncated({ item_id: id, audio_end_ms: endMs }) {
    const bubble = this.#bubbles.get(id);
    if (!bubble) return;
    bubble.tag("interruptedAt", ` ${(endMs / 1000).toFixed(1)} s`);
    // The server knows which of the words belong to what was heard.
    this.#session.send({ type: "conversation.item.retrieve", item_id: id });
  }

  #askForOutput(item) {
    const bubble = this.#bubbles.get(item.id);
    if (!bubble) return;
    const id = `output-${item.call_id}`;
    const field = make("textarea", { id, rows: "2", spellcheck: "false" });
    const form = make(
      "form",
      {
        class: "answer",
        submit: (submitted) => {
          submitted.preventDefault();
          this.#session.answer(item.call_id, field.value);
          form.remove();
        },
      },
      make("label", { for: id }, t("toolOutput")),
      field,
      make("button", { type: "submit" }, t("send")),
    );
    bubble.node.append(form);
  }
}

class Bubble {
  #role;
  #body;
  #tag = null;
  #heardText = null;
  text = "";

  constructor(id, role) {
    this.#role = role;
    this.#body = make("div", { class: "body" });
    const who = make("span", { class: "who", "data-i18n": `role.${role}` }, t(`role.${role}`));
    this.node = make("article", { class: `bubble ${role}`, "data-item": id }, who, this.#body);
    if (role === "assistant") this.node.classList.add("streaming");
  }

  pending(key) {
    if (this.text !== "") return;
    const dots = make("span", { class: "dots", "aria-hidden": "true" }, "···");
    this.#body.replaceChildren(make("span", { class: "pending", "data-i18n": key }, t(key)), " ", dots);
  }

  append(delta) {
    this.text += delta;
  }

  become(text) {
    this.text = text;
    this.#heardText = null;
  }

  heard(text) {
    this.#heardText = text.trimEnd();
  }

  done() {
    this.node.classList.remove("streaming");
  }

  name(name) {
    this.#body.replaceChildren(make("code", { class: "call" }, name));
  }

  call(text) {
    this.#body.append(make("code", { class: "payload" }, text));
  }

  /** Marked as interrupted, unless it is told already after how long. */
  cutShort() {
    if (this.#tag === null) this.tag("interrupted");
  }

  tag(key, rest = "") {
    this.#tag ??= this.node.appendChild(make("span", { class: "tag" }));
    this.#tag.replaceChildren(make("span", { "data-i18n": key }, t(key)), rest);
  }

  draw() {
    if (this.#role === "tool") return;
    if (this.#role !== "assistant") {
      this.#body.textContent = this.text || "—";
    } else if (this.#heardText !== null && this.text.startsWith(this.#heardText)) {
      const unheard = this.text.slice(this.#heardText.length);
      this.#body.replaceChildren(renderMarkdown(this.#heardText));
      const last = this.#body.lastElementChild;
      const end = last?.tagName === "P" ? last : this.#body;
      if (unheard) end.append(" ", make("span", { class: "unheard" }, unheard.trim()));
    } else {
      this.#body.replaceChildren(renderMarkdown(this.text));
    }
  }
}

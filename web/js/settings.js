// The settings form: what the user chose, and the session it becomes.

import { byId } from "./dom.js";
import { t } from "./i18n.js";
import { recall, recallKey, remember, rememberKey } from "./storage.js";
import { GET_WEATHER } from "./tools.js";

const TRANSCRIPTION = { model: "gpt-4o-mini-transcribe" };
const TURN_NUMBERS = ["threshold", "silence_duration_ms", "prefix_padding_ms"];

/** What the user chose differently from the server lives in `#chosen`, by the field's name. */
export class Settings {
  #form = byId("settings-form");
  #status = byId("settings-status");
  #chosen = recall("settings", {});
  #session;
  #pending = new Set(); // ids of updates that wait for their answer

  constructor(session) {
    this.#session = session;
    this.#form.elements.key.value = recallKey();
    this.#form.addEventListener("submit", (event) => event.preventDefault());
    this.#form.addEventListener("change", ({ target }) => this.#changed(target));
    byId("settings-restore").addEventListener("click", () => this.#restore());
    session.on("received", (event) => this.#take(event));
    this.#fill();
  }

  get key() {
    return this.#form.elements.key.value.trim();
  }

  get model() {
    return this.#form.elements.model.value.trim();
  }

  get pushToTalk() {
    const session = this.#session.settings;
    if (session) return this.#session.turnDetection === null;
    return this.#chosen.turns === "manual";
  }

  focusKey() {
    this.#form.elements.key.focus();
  }

  // --- the session ------------------------------------------------------------------------------

  /** The changes to make to a session that has the server's own settings. */
  #wanted() {
    const chosen = this.#chosen;
    const input = { transcription: TRANSCRIPTION };
    const detection = this.#turnDetection();
    if (detection !== undefined) input.turn_detection = detection;
    const wanted = { type: "realtime", audio: { input }, tools: this.#tools() };
    if (chosen.voice) wanted.audio.output = { voice: chosen.voice };
    if (chosen.output) wanted.output_modalities = [chosen.output];
    if (chosen.instructions !== undefined) wanted.instructions = chosen.instructions;
    return wanted;
  }

  #turnDetection() {
    const chosen = this.#chosen;
    const type = chosen.turns ?? this.#session.turnDetection?.type;
    if (type === "manual") return null;
    const detection = {};
    if (chosen.turns !== undefined) detection.type = chosen.turns;
    if (chosen.interrupt_response !== undefined) {
      detection.interrupt_response = chosen.interrupt_response;
    }
    if (type === "semantic_vad") {
      if (chosen.eagerness !== undefined) detection.eagerness = chosen.eagerness;
    } else {
      for (const name of TURN_NUMBERS) {
        if (chosen[name] !== undefined) detection[name] = chosen[name];
      }
    }
    if (Object.keys(detection).length === 0) return undefined;
    return { type: type ?? "server_vad", ...detection };
  }

  #tools() {
    const sample = this.#chosen.weather === false ? [] : [GET_WEATHER];
    return [...sample, ...(this.#otherTools() ?? [])];
  }

  /** The tools written in the form; null when they are not a JSON array. */
  #otherTools() {
    const text = this.#chosen.tools?.trim();
    if (!text) return [];
    try {
      const tools = JSON.parse(text);
      return Array.isArray(tools) ? tools : null;
    } catch {
      return null;
    }
  }

  #update(changes) {
    const id = this.#session.send({ type: "session.update", session: changes });
    if (id !== null) this.#pending.add(id);
    this.#tell(id === null ? "saved" : "");
  }

  #take(event) {
    switch (event.type) {
      case "session.created":
        this.#pending.clear();
        this.#update(this.#wanted());
        break;
      case "session.updated":
        this.#pending.delete(this.#pending.values().next().value);
        this.#fill();
        this.#tell("applied");
        break;
      case "error":
        if (this.#pending.delete(event.error.event_id)) {
          this.#say(event.error.message, true);
        }
        break;
      default:
    }
  }

  // --- the form ---------------------------------------------------------------------------------

  #changed(field) {
    const { name } = field;
    if (name === "key") {
      rememberKey(this.key);
      return;
    }
    if (field.type === "number" && !field.checkValidity()) {
      this.#say(field.validationMessage, true);
      return;
    }
    const value = valueOf(field);
    if (value === "" && name !== "instructions") delete this.#chosen[name];
    else this.#chosen[name] = value;
    if (name === "tools" && this.#otherTools() === null) {
      this.#tell("notJson", true);
      return;
    }
    remember("settings", this.#chosen);
    this.#showFields();
    if (name !== "model") this.#update(this.#changes(name));
  }

  /** As little as possible: a voice that was heard already may not be set again. */
  #changes(name) {
    const wanted = this.#wanted();
    const changes = { type: "realtime" };
    if (name === "voice") changes.audio = { output: { voice: this.#chosen.voice ?? "alloy" } };
    else if (name === "output") changes.output_modalities = wanted.output_modalities;
    else if (name === "instructions") changes.instructions = wanted.instructions;
    else if (name === "weather" || name === "tools") changes.tools = wanted.tools;
    else changes.audio = { input: { turn_detection: wanted.audio.input.turn_detection } };
    return changes;
  }

  #restore() {
    this.#chosen = {};
    remember("settings", {});
    this.#form.elements.tools.value = "";
    this.#form.elements.model.value = "";
    this.#form.elements.instructions.value = "";
    this.#form.elements.voice.value = "";
    this.#fill();
    this.#tell("saved");
  }

  /** Show what is in force: the session's, or before there is one what was chosen. */
  #fill() {
    const { elements } = this.#form;
    const session = this.#session.settings;
    const detection = this.#session.turnDetection ?? {};
    const chosen = this.#chosen;
    const shown = {
      output: session?.output_modalities?.[0] ?? chosen.output ?? "audio",
      voice: session?.audio?.output?.voice ?? chosen.voice ?? "",
      instructions: session?.instructions ?? chosen.instructions ?? "",
      turns: session ? (detection.type ?? "manual") : (chosen.turns ?? "server_vad"),
      eagerness: detection.eagerness ?? chosen.eagerness ?? "auto",
      tools: chosen.tools ?? "",
      model: chosen.model ?? "",
    };
    for (const name of TURN_NUMBERS) shown[name] = detection[name] ?? chosen[name] ?? "";
    for (const [name, value] of Object.entries(shown)) {
      if (elements[name] !== document.activeElement) elements[name].value = value;
    }
    elements.interrupt_response.checked =
      detection.interrupt_response ?? chosen.interrupt_response ?? true;
    elements.weather.checked = chosen.weather ?? true;
    this.#showFields();
    byId("session-id").textContent = session?.id ?? "–";
    byId("session-model").textContent = session?.model ?? "–";
  }

  #showFields() {
    const turns = this.#form.elements.turns.value;
    for (const node of this.#form.querySelectorAll("[data-turns]")) {
      node.hidden = !node.dataset.turns.split(" ").includes(turns);
    }
  }

  #tell(key, isError = false) {
    this.#say(key && t(key), isError);
    this.#status.dataset.i18n = key;
  }

  #say(text, isError = false) {
    delete this.#status.dataset.i18n;
    this.#status.textContent = text;
    this.#status.classList.toggle("error", isError);
  }
}

function valueOf(field) {
  if (field.type === "checkbox") return field.checked;
  if (field.type === "number") return field.value === "" ? "" : field.valueAsNumber;
  return field.value;
}

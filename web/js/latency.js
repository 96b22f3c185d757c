// Where the time of each turn goes: a waterfall from the end of speech to the first sound.

import { make } from "./dom.js";
import { t } from "./i18n.js";

const MAX_TURNS = 30;
const STAGES = ["detected", "transcript", "token", "audio"];

export class Latency {
  #box;
  #session;
  #turns = [];
  #byItem = new Map();
  #byResponse = new Map();
  #continuing = null;

  constructor(box, session) {
    this.#box = box;
    this.#session = session;
    session.on("received", (event) => this.#take(event, performance.now()));
    session.on("local", ({ type }) => this.#begin(type, performance.now()));
  }

  clear() {
    this.#turns = [];
    this.#byItem.clear();
    this.#byResponse.clear();
    this.#continuing = null;
    this.redraw();
  }

  /** Draw all turns, newest first; also after a change of language. */
  redraw() {
    this.#box.replaceChildren(...this.#turns.map((turn) => this.#card(turn)).reverse());
  }

  #begin(kind, start) {
    const number = (this.#turns.at(-1)?.number ?? 0) + 1;
    const turn = { kind, start, number, marks: {}, answered: false, tool: false };
    this.#turns.push(turn);
    if (this.#turns.length > MAX_TURNS) this.#turns.shift();
    this.#continuing = null;
    return turn;
  }

  #take(event, now) {
    const turn = this.#byItem.get(event.item_id) ?? this.#byResponse.get(event.response_id);
    switch (event.type) {
      case "input_audio_buffer.speech_stopped": {
        const spoken = this.#begin("spoken", this.#speechEnd(event) ?? now);
        spoken.marks.detected = now;
        this.#byItem.set(event.item_id, spoken);
        break;
      }
      case "input_audio_buffer.committed": {
        const last = this.#turns.at(-1);
        if (last?.kind === "committed" && !turn) this.#byItem.set(event.item_id, last);
        return;
      }
      case "conversation.item.input_audio_transcription.completed":
        if (turn) turn.marks.transcript ??= now;
        break;
      case "response.created": {
        const asking = this.#continuing ?? this.#turns.findLast((candidate) => !candidate.answered);
        this.#continuing = null;
        if (!asking) return;
        for (const earlier of this.#turns) earlier.answered = true;
        this.#byResponse.set(event.response.id, asking);
        return;
      }
      case "response.output_text.delta":
      case "response.output_audio_transcript.delta":
        if (!turn || turn.marks.token) return;
        turn.marks.token = now;
        break;
      case "response.output_audio.delta":
        if (!turn || turn.marks.audio) return;
        turn.marks.audio = now;
        break;
      case "response.done": {
        const owner = this.#byResponse.get(event.response.id);
        if (owner && event.response.output.some((item) => item.type === "function_call")) {
          owner.tool = true;
          this.#continuing = owner;
        }
        break;
      }
      default:
        return;
    }
    this.redraw();
  }

  /** When the user fell silent, by the clock of the audio that was sent. */
  #speechEnd({ audio_end_ms: endMs }) {
    // The server's end lies after the silence that told it the turn was over.
    const detection = this.#session.turnDetection;
    const silence = detection?.type === "server_vad" ? detection.silence_duration_ms : 0;
    return this.#session.timeOfInput(endMs - silence);
  }

  #card(turn) {
    const marks = STAGES.filter((stage) => turn.marks[stage] !== undefined).map((stage) => [
      stage,
      Math.max(0, turn.marks[stage] - turn.start),
    ]);
    const total = Math.max(1, ...marks.map(([, ms]) => ms));
    let before = 0;
    const rows = marks.map(([stage, ms]) => {
      const from = Math.min(before, ms);
      before = ms;
      const bar = make("span", { class: `bar at-${stage}` });
      bar.style.setProperty("--from", `${(from / total) * 100}%`);
      bar.style.setProperty("--width", `${Math.max(0.8, ((ms - from) / total) * 100)}%`);
      return make(
        "tr",
        {},
        make("th", { scope: "row" }, t(`stage.${stage}`)),
        make("td", { class: "track", "aria-hidden": "true" }, bar),
        make("td", { class: "ms" }, `${Math.round(ms)} ms`),
      );
    });
    const title = `${t("turn")} ${turn.number} · ${t(`kind.${turn.kind}`)}${turn.tool ? ` · ${t("withTool")}` : ""}`;
    const table = make("table", { class: "waterfall" }, make("caption", {}, title), ...rows);
    return make("section", { class: "card", "data-turn": turn.number }, table);
  }
}

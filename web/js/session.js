// One conversation over the Realtime wire: turns, replies, tools and barge-in. It knows no DOM.

import { Emitter } from "./emitter.js";
import { fromBase64, samplesToMs, toBase64 } from "./pcm.js";
import { answerCall } from "./tools.js";

const KEY_PROTOCOL = "openai-insecure-api-key.";
const MIN_COMMIT_MS = 100; // a shorter buffer is refused
const REMEMBERED_CHUNKS = 3000;

/**
 * Emits `state` ("closed", "connecting", "open"), `sent` and `received` (events), `local` (things
 * worth a mark that no event tells), `failed` ({code, reason}) and `call` (one it cannot answer).
 */
export class Session extends Emitter {
  #socket = null;
  #player;
  #sentEvents = 0;
  #appendedSamples = 0;
  #chunkTimes = []; // [end of the chunk in ms of the input, when it was sent]
  #uncommittedMs = 0;
  #activeResponse = null;
  #wantsResponse = false;
  #openCalls = new Set();
  #silenced = new Set(); // items that were cut off: late audio of theirs is dropped
  state = "closed";
  settings = null; // the session as the server last told it
  speaking = false; // whether the user is, by the server's detection

  constructor(player) {
    super();
    this.#player = player;
  }

  get isOpen() {
    return this.state === "open";
  }

  get responding() {
    return this.#activeResponse !== null;
  }

  get turnDetection() {
    return this.settings?.audio?.input?.turn_detection ?? null;
  }

  /** Connect; resolves with whether a session came about. */
  connect({ model, key }) {
    const url = new URL("v1/realtime", document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    if (model) url.searchParams.set("model", model);
    const protocols = ["realtime", ...(key ? [KEY_PROTOCOL + key] : [])];
    this.#reset();
    return new Promise((resolve) => {
      let socket;
      try {
        socket = new WebSocket(url, protocols);
      } catch {
        this.emit("failed", { code: "bad_key", reason: "" });
        resolve(false);
        return;
      }
      this.#socket = socket;
      this.#become("connecting");
      socket.onmessage = ({ data }) => {
        if (socket !== this.#socket) return;
        const event = JSON.parse(data);
        this.#receive(event);
        if (event.type === "session.created") resolve(true);
      };
      socket.onclose = ({ code, reason }) => {
        if (socket === this.#socket) {
          const wasOpen = this.isOpen;
          this.#socket = null;
          this.#player.stop();
          this.#become("closed");
          this.emit("failed", { code: wasOpen || code !== 1006 ? code : "refused", reason });
        }
        resolve(false);
      };
    });
  }

  disconnect() {
    const socket = this.#socket;
    this.#socket = null;
    this.#player.stop();
    this.#become("closed");
    socket?.close(1000);
  }

  #reset() {
    this.#appendedSamples = 0;
    this.#chunkTimes = [];
    this.#uncommittedMs = 0;
    this.#activeResponse = null;
    this.#wantsResponse = false;
    this.#openCalls.clear();
    this.#silenced.clear();
    this.settings = null;
    this.speaking = false;
  }

  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.emit("state", state);
  }

  /** Send an event; its id, which an error about it will name. */
  send(event) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return null;
    this.#sentEvents += 1;
    const marked = { event_id: `console_${this.#sentEvents}`, ...event };
    this.#socket.send(JSON.stringify(marked));
    this.emit("sent", marked);
    return marked.event_id;
  }

  // --- what the user does -------------------------------------------------------------------

  sendText(text) {
    this.interrupt();
    this.send({
      type: "conversation.item.create",
      item: { type: "message", role: "user", content: [{ type: "input_text", text }] },
    });
    this.emit("local", { type: "typed" });
    this.requestResponse();
  }

  appendAudio(samples) {
    if (!this.isOpen) return;
    this.#appendedSamples += samples.length;
    this.#uncommittedMs += samplesToMs(samples.length);
    this.#chunkTimes.push([samplesToMs(this.#appendedSamples), performance.now()]);
    if (this.#chunkTimes.length > REMEMBERED_CHUNKS) this.#chunkTimes.shift();
    this.send({ type: "input_audio_buffer.append", audio: toBase64(samples) });
  }

  /** Begin a turn by hand: whatever was said before does not count. */
  beginTurn() {
    this.interrupt();
    this.send({ type: "input_audio_buffer.clear" });
    this.#uncommittedMs = 0;
  }

  /** End a turn by hand; a mere touch of the button is not a turn. */
  endTurn() {
    if (this.#uncommittedMs < MIN_COMMIT_MS) {
      this.send({ type: "input_audio_buffer.clear" });
      return;
    }
    this.#uncommittedMs = 0;
    this.send({ type: "input_audio_buffer.commit" });
    this.emit("local", { type: "committed" });
    this.requestResponse();
  }

  /** Ask for a reply, after the one in progress if there is one. */
  requestResponse() {
    if (this.responding || this.#openCalls.size > 0) {
      this.#wantsResponse = true;
    } else {
      this.#wantsResponse = false;
      this.send({ type: "response.create" });
    }
  }

  /** Stop the reply: no more sound, no more words, and the server learns what was heard. */
  interrupt() {
    if (this.responding) this.send({ type: "response.cancel" });
    this.#cutOff();
  }

  answer(callId, output) {
    this.send({
      type: "conversation.item.create",
      item: { type: "function_call_output", call_id: callId, output },
    });
    this.#openCalls.delete(callId);
    this.requestResponse();
  }

  /** When (`performance.now()`) the given moment of the input audio was sent, if still known. */
  timeOfInput(ms) {
    return this.#chunkTimes.find(([end]) => end >= ms)?.[1] ?? null;
  }

  // --- what the server does -----------------------------------------------------------------

  #receive(event) {
    switch (event.type) {
      case "session.created":
        this.settings = event.session;
        this.#become("open");
        break;
      case "session.updated":
        this.settings = event.session;
        break;
      case "input_audio_buffer.speech_started":
        this.speaking = true;
        if (this.turnDetection?.interrupt_response !== false) this.#cutOff();
        break;
      case "input_audio_buffer.speech_stopped":
        this.speaking = false;
        break;
      case "response.created":
        this.#activeResponse = event.response.id;
        break;
      case "response.output_audio.delta":
        if (!this.#silenced.has(event.item_id)) {
          this.#player.push(event.item_id, fromBase64(event.delta));
        }
        break;
      case "response.output_item.done":
        if (event.item.type === "function_call" && event.item.status === "completed") {
          this.#openCalls.add(event.item.call_id);
        }
        break;
      default:
    }
    this.emit("received", event);
    if (event.type === "response.output_item.done") this.#answerCall(event.item);
    if (event.type === "response.done") this.#responseDone(event.response);
  }

  #answerCall(item) {
    if (!this.#openCalls.has(item.call_id)) return;
    const output = answerCall(item.name, item.arguments);
    if (output === null) this.emit("call", item);
    else this.answer(item.call_id, output);
  }

  #responseDone(response) {
    if (response.id !== this.#activeResponse) return;
    this.#activeResponse = null;
    if (response.status !== "completed") this.#openCalls.clear();
    // Who interrupts by speaking is answered without being asked for.
    if (response.status_details?.reason === "turn_detected") this.#wantsResponse = false;
    if (this.#wantsResponse) this.requestResponse();
  }

  #cutOff() {
    for (const { itemId, playedMs } of this.#player.stop()) {
      this.#silenced.add(itemId);
      this.send({
        type: "conversation.item.truncate",
        item_id: itemId,
        content_index: 0,
        audio_end_ms: playedMs,
      });
    }
  }
}

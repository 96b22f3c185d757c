// Plays reply audio without gaps, and says how much of each item was heard when it is stopped.

import { Emitter } from "./emitter.js";
import { RATE_HZ, peakOf, samplesToMs } from "./pcm.js";

// Scheduled buffers and not a worklet: a browser has worklets only on localhost and over https.
const LEAD_SAMPLES = RATE_HZ / 50; // before the first sound, so that it is not late already
const LEVEL_EVERY_MS = 40;
const LEVEL_SAMPLES = 1024;

/** Emits `level` (peak, 0 to 1) while it plays and `busy` (boolean) when that changes. */
export class Player extends Emitter {
  #context = null;
  #output = null;
  #meter = null;
  #timer = 0;
  #chunks = []; // {itemId, source, start, end}: on the context's clock, in samples
  #end = 0; // where the last chunk ends
  busy = false;

  /** Prepare the output; to be called from a user's action, or the browser keeps it silent. */
  open() {
    if (this.#context === null) {
      // At the rate of the audio itself, chunks meet at whole samples.
      this.#context = new AudioContext({ sampleRate: RATE_HZ });
      this.#meter = this.#context.createAnalyser();
      this.#meter.fftSize = LEVEL_SAMPLES;
      this.#meter.connect(this.#context.destination);
    }
    // Not awaited: without a user's action it would wait for one.
    this.#context.resume();
  }

  get #now() {
    return Math.round(this.#context.currentTime * RATE_HZ);
  }

  /** Queue samples of an item. */
  push(itemId, samples) {
    if (this.#context === null || samples.length === 0) return;
    const buffer = this.#context.createBuffer(1, samples.length, RATE_HZ);
    buffer.copyToChannel(Float32Array.from(samples, (value) => value / 32768), 0);
    const source = new AudioBufferSourceNode(this.#context, { buffer });
    const start = this.#end > this.#now ? this.#end : this.#now + LEAD_SAMPLES;
    const chunk = { itemId, source, start, end: start + samples.length };
    source.connect(this.#meter);
    source.start(start / RATE_HZ);
    source.onended = () => this.#finished(chunk);
    this.#end = chunk.end;
    this.#chunks.push(chunk);
    this.#become(true);
  }

  /**
   * Be silent at once.
   * @returns the items that were cut off: `[{itemId, playedMs}]`, nothing for those heard whole.
   */
  stop() {
    if (this.#chunks.length === 0) return [];
    // What the context has handed on is heard only after the way through the device.
    const heard = this.#now - (this.#context.outputLatency || 0) * RATE_HZ;
    const items = new Map();
    for (const { itemId, source, start, end } of this.#chunks) {
      source.onended = null;
      source.stop();
      source.disconnect();
      const item = items.get(itemId) ?? { played: 0, total: 0 };
      item.played += Math.min(Math.max(0, heard - start), end - start);
      item.total += end - start;
      items.set(itemId, item);
    }
    this.#chunks = [];
    this.#end = 0;
    this.#become(false);
    return [...items]
      .filter(([, { played, total }]) => played < total)
      .map(([itemId, { played }]) => ({ itemId, playedMs: Math.floor(samplesToMs(played)) }));
  }

  #finished(chunk) {
    // The item's earlier chunks still count, until the last one has been played.
    if (chunk === this.#chunks.at(-1)) {
      this.#chunks = this.#chunks.filter(({ itemId }) => itemId === chunk.itemId);
      this.#become(false);
    }
  }

  #become(busy) {
    if (busy === this.busy) return;
    this.busy = busy;
    if (busy) this.#timer = setInterval(() => this.#measure(), LEVEL_EVERY_MS);
    else clearInterval(this.#timer);
    this.emit("busy", busy);
  }

  #measure() {
    const wave = new Float32Array(LEVEL_SAMPLES);
    this.#meter.getFloatTimeDomainData(wave);
    this.emit("level", peakOf(wave));
  }
}

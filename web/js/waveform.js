// The last seconds of both voices, with what the voice activity detection heard shaded.

const SPAN_MS = 10000;
const BAR_MS = 40;

export class Waveform {
  #canvas;
  #levels = []; // {at, peak, side}
  #speech = []; // {from, to}, `to` null while it lasts
  #session;
  #colours = {};
  #running = false;

  constructor(canvas, session) {
    this.#canvas = canvas;
    this.#session = session;
    session.on("received", (event) => this.#mark(event, performance.now()));
    session.on("state", (state) => (state === "open" ? this.#start() : this.#stop()));
    new ResizeObserver(() => this.draw()).observe(canvas);
    this.recolour();
  }

  /** Take the colours from the page's theme again. */
  recolour() {
    const style = getComputedStyle(this.#canvas);
    for (const name of ["--user", "--assistant", "--mark", "--line"]) {
      this.#colours[name] = style.getPropertyValue(name).trim();
    }
    this.draw();
  }

  level(side, peak) {
    const now = performance.now();
    this.#levels.push({ at: now, peak, side });
    while (this.#levels[0].at < now - SPAN_MS - 500) this.#levels.shift();
  }

  #mark(event, now) {
    if (event.type === "input_audio_buffer.speech_started") {
      const from = this.#session.timeOfInput(event.audio_start_ms) ?? now;
      this.#speech.push({ from, to: null });
      if (this.#speech.length > 20) this.#speech.shift();
    } else if (event.type === "input_audio_buffer.speech_stopped") {
      const last = this.#speech.at(-1);
      if (last) last.to = this.#session.timeOfInput(event.audio_end_ms) ?? now;
    }
  }

  #start() {
    this.#speech = [];
    if (this.#running) return;
    this.#running = true;
    const step = () => {
      if (!this.#running) return;
      this.draw();
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  #stop() {
    this.#running = false;
    this.draw();
  }

  draw() {
    const scale = window.devicePixelRatio || 1;
    const [width, height] = [this.#canvas.clientWidth, this.#canvas.clientHeight];
    if (this.#canvas.width !== Math.round(width * scale)) {
      this.#canvas.width = Math.round(width * scale);
    }
    if (this.#canvas.height !== Math.round(height * scale)) {
      this.#canvas.height = Math.round(height * scale);
    }
    const pen = this.#canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const now = performance.now();
    const x = (at) => width - ((now - at) / SPAN_MS) * width;
    const middle = height / 2;
    for (const { from, to } of this.#speech) {
      const [left, right] = [x(from), to === null ? width : x(to)];
      if (right < 0) continue;
      pen.fillStyle = this.#colours["--mark"];
      pen.globalAlpha = 0.16;
      pen.fillRect(left, 0, right - left, height);
      pen.globalAlpha = 0.8;
      pen.fillRect(left, 0, 1.5, height);
      if (to !== null) pen.fillRect(right - 1.5, 0, 1.5, height);
      pen.globalAlpha = 1;
    }
    pen.fillStyle = this.#colours["--line"];
    pen.fillRect(0, middle - 0.5, width, 1);
    const bar = Math.max(1, (BAR_MS / SPAN_MS) * width - 1);
    for (const { at, peak, side } of this.#levels) {
      // Loudness as it is heard, not as it is measured: quiet speech must be seen too.
      const size = Math.max(1, Math.sqrt(peak) * (middle - 2));
      pen.fillStyle = this.#colours[side === "user" ? "--user" : "--assistant"];
      if (side === "user") pen.fillRect(x(at), middle - size, bar, size);
      else pen.fillRect(x(at), middle, bar, size);
    }
  }
}

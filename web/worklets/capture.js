// Microphone samples → 24 kHz s16 mono in chunks of 40 ms, with the peak level of each.
// It resamples with a windowed sinc, so that nothing above 12 kHz folds into the speech.

const OUT_HZ = 24000;
const CHUNK_SAMPLES = 960;
const PHASES = 128;

/** A streaming resampler: any input rate to `OUT_HZ`. */
class Resampler {
  constructor(inHz) {
    this.step = inHz / OUT_HZ;
    const cutoff = Math.min(1, OUT_HZ / inHz) * 0.94;
    this.half = Math.ceil(12 / cutoff);
    this.taps = this.half * 2;
    this.table = Array.from({ length: PHASES }, (_, phase) => this.kernel(phase / PHASES, cutoff));
    this.history = new Float32Array(this.taps);
    this.position = this.half; // of the next output, in samples of `history`
  }

  kernel(fraction, cutoff) {
    const taps = new Float32Array(this.taps);
    let sum = 0;
    for (let k = 0; k < this.taps; k += 1) {
      const x = k - this.half + 1 - fraction;
      const window = 0.5 + 0.5 * Math.cos((Math.PI * x) / (this.half + 1));
      const angle = Math.PI * x * cutoff;
      taps[k] = (angle === 0 ? 1 : Math.sin(angle) / angle) * window;
      sum += taps[k];
    }
    return taps.map((tap) => tap / sum);
  }

  /** Hand each output sample that `input` completes to `emit`. */
  push(input, emit) {
    if (this.step === 1) {
      input.forEach(emit);
      return;
    }
    const samples = new Float32Array(this.history.length + input.length);
    samples.set(this.history);
    samples.set(input, this.history.length);
    let position = this.position;
    while (Math.floor(position) + this.half < samples.length) {
      const whole = Math.floor(position);
      const taps = this.table[Math.floor((position - whole) * PHASES)];
      const first = whole - this.half + 1;
      let value = 0;
      for (let k = 0; k < this.taps; k += 1) value += samples[first + k] * taps[k];
      emit(value);
      position += this.step;
    }
    const keepFrom = Math.floor(position) - this.half + 1;
    this.history = samples.slice(keepFrom);
    this.position = position - keepFrom;
  }
}

class CaptureProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate);
    this.chunk = new Int16Array(CHUNK_SAMPLES);
    this.filled = 0;
    this.peak = 0;
  }

  process(inputs) {
    const channels = inputs[0];
    if (channels.length > 0) {
      this.resampler.push(mixed(channels), (value) => this.take(value));
    }
    return true;
  }

  take(value) {
    const clipped = Math.max(-1, Math.min(1, value));
    this.peak = Math.max(this.peak, Math.abs(clipped));
    this.chunk[this.filled] = Math.round(clipped * 32767);
    this.filled += 1;
    if (this.filled === CHUNK_SAMPLES) {
      this.port.postMessage({ pcm: this.chunk, peak: this.peak }, [this.chunk.buffer]);
      this.chunk = new Int16Array(CHUNK_SAMPLES);
      this.filled = 0;
      this.peak = 0;
    }
  }
}

function mixed(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, i) => {
    let sum = 0;
    for (const channel of channels) sum += channel[i];
    return sum / channels.length;
  });
}

registerProcessor("capture", CaptureProcessor);

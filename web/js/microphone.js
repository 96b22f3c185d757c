// The microphone as a stream of 24 kHz chunks; it does not know where they go.

export class Microphone {
  #stream = null;
  #context = null;

  /** @param onChunk called with `(Int16Array, peak)` every 40 ms while it is open. */
  constructor(onChunk) {
    this.onChunk = onChunk;
  }

  get isOpen() {
    return this.#stream !== null;
  }

  /** Ask for the microphone. Rejects with a DOMException that names the reason. */
  async open(onEnded) {
    if (!navigator.mediaDevices) {
      throw new DOMException("Microphones need https or localhost.", "SecurityError");
    }
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
    // The context keeps the device's own rate: Firefox connects a microphone to no other.
    const context = new AudioContext();
    try {
      await context.audioWorklet.addModule(new URL("../worklets/capture.js", import.meta.url));
      const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
      capture.port.onmessage = ({ data }) => this.isOpen && this.onChunk(data.pcm, data.peak);
      context.createMediaStreamSource(stream).connect(capture);
      await context.resume();
    } catch (error) {
      for (const track of stream.getTracks()) track.stop();
      await context.close();
      throw error;
    }
    for (const track of stream.getTracks()) track.addEventListener("ended", onEnded);
    this.#stream = stream;
    this.#context = context;
  }

  async close() {
    const [stream, context] = [this.#stream, this.#context];
    this.#stream = this.#context = null;
    for (const track of stream?.getTracks() ?? []) track.stop();
    await context?.close();
  }
}

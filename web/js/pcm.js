// 16-bit PCM and base64: what audio is on the wire.

export const RATE_HZ = 24000;

/** Samples as base64 of little-endian bytes. */
export function toBase64(samples) {
  const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
  let text = "";
  for (let start = 0; start < bytes.length; start += 8192) {
    text += String.fromCharCode(...bytes.subarray(start, start + 8192));
  }
  return btoa(text);
}

/** The samples in base64 text of whole little-endian s16 samples. */
export function fromBase64(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length & ~1);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = raw.charCodeAt(i);
  return new Int16Array(bytes.buffer);
}

/** Float samples from -1 to 1 as s16. */
export function toInt16(floats) {
  return Int16Array.from(floats, (value) => Math.round(Math.max(-1, Math.min(1, value)) * 32767));
}

/** The largest magnitude, from 0 to 1, of s16 or float samples. */
export function peakOf(samples) {
  let peak = 0;
  for (const value of samples) peak = Math.max(peak, Math.abs(value));
  return samples instanceof Int16Array ? peak / 32768 : Math.min(1, peak);
}

export function samplesToMs(samples) {
  return (samples * 1000) / RATE_HZ;
}

// Names events and who listens to them.

export class Emitter {
  #listeners = new Map();

  /** Call `listener` with the payload of every event `name`. */
  on(name, listener) {
    const known = this.#listeners.get(name) ?? [];
    this.#listeners.set(name, [...known, listener]);
  }

  emit(name, payload) {
    for (const listener of this.#listeners.get(name) ?? []) listener(payload);
  }
}

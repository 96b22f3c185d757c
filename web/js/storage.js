// What the page remembers: preferences for good, the key for this tab only.

const PREFIX = "realtime-console.";

/** A remembered preference, or `fallback`; a browser may forbid storage altogether. */
export function recall(name, fallback) {
  try {
    const text = localStorage.getItem(PREFIX + name);
    return text === null ? fallback : JSON.parse(text);
  } catch {
    return fallback;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Without storage the preference lasts as long as the page.
    console.info("Preferences cannot be stored in this browser.");
  }
}

export function recallKey() {
  try {
    return sessionStorage.getItem(`${PREFIX}key`) ?? "";
  } catch {
    return "";
  }
}

export function rememberKey(key) {
  try {
    if (key) sessionStorage.setItem(`${PREFIX}key`, key);
    else sessionStorage.removeItem(`${PREFIX}key`);
  } catch {
    console.info("The key cannot be stored in this browser.");
  }
}

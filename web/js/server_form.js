// The form of the server's settings: what `.env` has, what is in force, and what was changed here.

import { byId, make } from "./dom.js";
import { isChinese, t } from "./i18n.js";
import { EXPLAINED } from "./settings_zh.js";

const LONG_TEXT = 60; // characters of a default from which a field has several lines

export class ServerForm {
  #save;
  #settings = [];
  #drafts = new Map(); // name → text, "" takes it out of the file
  #open = new Set(); // sections that are unfolded
  #filter = byId("server-filter");
  #onlySet = byId("server-set");
  #status = byId("server-status");
  #wrong = "";

  /** @param save takes `{name: text or null}`; resolves with `{text, wrong}`. */
  constructor(save) {
    this.#save = save;
    this.#filter.addEventListener("input", () => this.draw());
    this.#onlySet.addEventListener("change", () => this.draw());
    byId("server-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    byId("server-discard").addEventListener("click", () => this.#discard());
  }

  /** The settings as the server tells them. */
  take(settings) {
    this.#settings = settings;
  }

  draw() {
    const needle = this.#filter.value.trim().toLowerCase();
    const narrowed = needle !== "" || this.#onlySet.checked;
    const groups = new Map();
    for (const setting of this.#settings) {
      if (this.#onlySet.checked && setting.source === "default" && !setting.is_saved) continue;
      const words = `${setting.name} ${setting.description} ${explanation(setting)}`.toLowerCase();
      if (!words.includes(needle)) continue;
      groups.set(setting.section, [...(groups.get(setting.section) ?? []), setting]);
    }
    const nodes = [...groups].map(([section, rows]) => this.#group(section, rows, narrowed));
    if (nodes.length === 0) nodes.push(make("p", { class: "hint" }, t("nothingFound")));
    byId("server-groups").replaceChildren(...nodes);
    this.#tellChanges();
  }

  #group(section, rows, narrowed) {
    const set = rows.filter(({ source, is_saved: saved }) => source !== "default" || saved).length;
    const title = t(`group.${section}`);
    const group = make(
      "details",
      { class: "group", open: narrowed || this.#open.has(section), "data-section": section },
      make(
        "summary",
        {},
        make("span", {}, title.startsWith("group.") ? section : title),
        ...(set ? [make("span", { class: "badge" }, `${set} ${t("setHere")}`)] : []),
      ),
      ...rows.map((setting) => this.#row(setting)),
    );
    group.addEventListener("toggle", () => {
      if (group.open) this.#open.add(section);
      else this.#open.delete(section);
    });
    return group;
  }

  #row(setting) {
    const { name, source, restart } = setting;
    const id = `env-${name}`;
    const control = this.#control(setting, id);
    control.setAttribute("aria-describedby", `${id}-about`);
    if (this.#wrong === name) control.setAttribute("aria-invalid", "true");
    const badges = [make("span", { class: `badge from-${source}` }, t(`source.${source}`))];
    if (restart) badges.push(make("span", { class: "badge waits" }, t("needsRestart")));
    const about = make("small", { id: `${id}-about` }, explanation(setting), ` ${allowed(setting)}`);
    const line = make("div", { class: "control" }, control);
    if (setting.secret && setting.is_saved) line.append(this.#remover(setting, control));
    const row = make(
      "div",
      { class: "setting", "data-name": name },
      make("div", { class: "name" }, make("label", { for: id }, name), ...badges),
      about,
      line,
      make("small", { class: "in-force" }, inForce(setting)),
    );
    row.classList.toggle("changed", this.#drafts.has(name));
    return row;
  }

  #control(setting, id) {
    const { name, kind, choices, secret, saved } = setting;
    const text = this.#drafts.get(name) ?? saved ?? "";
    const fallback = setting.default === null ? t("unset") : setting.default;
    const shared = { id, name, spellcheck: "false", autocomplete: "off" };
    let control;
    if (kind === "choice" || kind === "switch") {
      const options = kind === "switch" ? ["true", "false"] : choices;
      control = make(
        "select",
        shared,
        make("option", { value: "" }, `${fallback} (${t("byDefault")})`),
        ...options.map((value) => make("option", { value }, value)),
      );
    } else if (secret) {
      const removed = this.#drafts.get(name) === "" && setting.is_saved;
      const placeholder = t(removed ? "willRemove" : setting.is_set || setting.is_saved ? "isSet" : "unset");
      control = make("input", { ...shared, type: "password", placeholder });
    } else if (kind === "text" && fallback.length >= LONG_TEXT) {
      control = make("textarea", { ...shared, rows: "3", placeholder: fallback });
    } else {
      const inputmode = kind === "number" ? "decimal" : "text";
      control = make("input", { ...shared, type: "text", inputmode, placeholder: fallback });
    }
    if (kind === "engines") {
      const list = make("datalist", { id: `${id}-list` }, ...choices.map((value) => make("option", { value })));
      byId(list.id)?.remove();
      byId("server-form").append(list);
      control.setAttribute("list", list.id);
    }
    control.value = text;
    control.addEventListener("input", () => this.#edit(setting, control.value, control));
    return control;
  }

  #remover(setting, control) {
    const { name } = setting;
    const marked = () => this.#drafts.get(name) === "";
    const button = make("button", { type: "button", class: "small" }, t(marked() ? "keep" : "remove"));
    button.addEventListener("click", () => {
      const removing = !marked();
      control.value = "";
      if (removing) this.#drafts.set(name, "");
      else this.#drafts.delete(name);
      control.placeholder = t(removing ? "willRemove" : "isSet");
      button.textContent = t(removing ? "keep" : "remove");
      control.closest(".setting").classList.toggle("changed", removing);
      this.#tellChanges();
    });
    return button;
  }

  #edit(setting, text, control) {
    // An empty field of a secret means that nothing was typed: it is removed by its button.
    const before = setting.secret ? "" : (setting.saved ?? "");
    if (text === before) this.#drafts.delete(setting.name);
    else this.#drafts.set(setting.name, text);
    control.removeAttribute("aria-invalid");
    control.closest(".setting").classList.toggle("changed", this.#drafts.has(setting.name));
    this.#tellChanges();
  }

  #tellChanges() {
    const names = [...this.#drafts.keys()];
    for (const id of ["server-save", "server-discard"]) byId(id).hidden = names.length === 0;
    if (names.length > 0) this.#say(`${t("changedCount")} ${names.join(", ")}`);
    else if (!this.#status.dataset.kept) this.#say("");
  }

  #discard() {
    this.#drafts.clear();
    this.#wrong = "";
    this.#say("");
    this.draw();
  }

  async #submit() {
    const changes = Object.fromEntries(
      [...this.#drafts].map(([name, text]) => [name, text.trim() === "" ? null : text]),
    );
    if (Object.keys(changes).length === 0) return;
    const drafts = new Map(this.#drafts);
    this.#drafts.clear();
    const { text, wrong } = await this.#save(changes);
    this.#wrong = wrong ?? "";
    if (wrong !== undefined) for (const [name, draft] of drafts) this.#drafts.set(name, draft);
    this.draw();
    this.#say(text, wrong !== undefined, true);
    if (this.#wrong) this.#showWrong(text);
  }

  /** Bring the setting that was refused into sight, with the reason below it. */
  #showWrong(text) {
    let control = byId(`env-${this.#wrong}`);
    if (!control) {
      this.#filter.value = "";
      this.#onlySet.checked = false;
      this.draw();
      this.#say(text, true, true);
      control = byId(`env-${this.#wrong}`);
    }
    if (!control) return;
    control.closest("details").open = true;
    control.closest(".setting").append(make("p", { class: "problem" }, text));
    control.focus();
  }

  #say(text, isError = false, keep = false) {
    this.#status.textContent = text;
    this.#status.classList.toggle("error", isError);
    if (keep) this.#status.dataset.kept = "true";
    else delete this.#status.dataset.kept;
  }
}

function explanation({ name, description }) {
  return (isChinese() && EXPLAINED[name]) || description;
}

/** What a value may be, where its control does not show it. */
function allowed({ kind, minimum, maximum, choices }) {
  if (kind === "engines") return `(${choices.join(", ")})`;
  if (minimum !== null && maximum !== null) return `(${minimum}–${maximum})`;
  if (minimum !== null) return `(${t("range.least")} ${minimum})`;
  if (maximum !== null) return `(${t("range.most")} ${maximum})`;
  return "";
}

/** What the running server has, where the field alone would mislead. */
function inForce({ source, secret, value, saved, shadowed }) {
  if (source === "default" && saved === null) return "";
  const parts = secret || value === saved ? [] : [`${t("now")}: ${value ?? t("unset")}`];
  if (shadowed) parts.push(t("shadowed"));
  else if (source === "start") parts.push(t("startWins"));
  return parts.join(" · ");
}

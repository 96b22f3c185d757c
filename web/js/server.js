// The operator's page: which engines serve, whether they work, and what `.env` says.

import { byId, make } from "./dom.js";
import { t } from "./i18n.js";
import { ServerForm } from "./server_form.js";

export class ServerPage {
  #key;
  #form;
  #overview = null;
  #findings = null; // {rows, end, problem} of the check

  /**
   * @param key gives the API key the user has entered
   * @param askForKey brings the user to where a key is entered
   */
  constructor(key, askForKey) {
    this.#key = key;
    this.#form = new ServerForm((changes) => this.#save(changes));
    byId("doctor").addEventListener("click", () => this.#check());
    byId("server-key").addEventListener("click", askForKey);
    byId("server-retry").addEventListener("click", () => this.#load());
  }

  /** Show the page; what was typed and not saved stays. */
  open() {
    if (this.#overview === null) this.#load();
  }

  /** Draw again, after a change of language. */
  redraw() {
    if (this.#overview === null) return;
    this.#drawEngines();
    this.#drawFindings();
    this.#drawNotice();
    this.#form.draw();
  }

  async #ask(path, options = {}) {
    const key = this.#key();
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    const body = options.body && JSON.stringify(options.body);
    if (body) headers["Content-Type"] = "application/json";
    return fetch(new URL(`console/${path}`, document.baseURI), { ...options, headers, body });
  }

  async #load() {
    let answer;
    try {
      answer = await this.#ask("settings");
    } catch {
      this.#refuse("serverLost", "");
      return;
    }
    const told = await answer.json();
    if (!answer.ok) {
      this.#refuse("serverRefused", told.error.message);
      return;
    }
    this.#overview = told;
    byId("server-refused").hidden = true;
    byId("server-page").hidden = false;
    byId("server-file").textContent = told.env_file;
    this.#form.take(told.settings);
    this.redraw();
  }

  #refuse(key, reason) {
    this.#overview = null;
    byId("server-page").hidden = true;
    byId("server-refused").hidden = false;
    const heading = byId("server-refused").querySelector("h2");
    heading.dataset.i18n = key;
    heading.textContent = t(key);
    byId("server-reason").textContent = reason;
    byId("server-key").hidden = key !== "serverRefused";
  }

  // --- engines --------------------------------------------------------------------------------

  #drawEngines() {
    const { engines, failing } = this.#overview;
    const rows = engines.map(({ stage, engine, why }) => {
      const broken = failing.find((one) => stageName(one) === stage);
      return make(
        "li",
        {},
        make("span", { class: "stage-name" }, stage),
        make(
          "div",
          {},
          make("strong", {}, engine),
          make("small", {}, why),
          ...(broken ? [make("small", { class: "bad" }, broken.reason)] : []),
        ),
      );
    });
    byId("engines").replaceChildren(...rows);
  }

  async #check() {
    const button = byId("doctor");
    button.disabled = true;
    this.#findings = { rows: [], end: null, problem: "" };
    this.#drawFindings();
    try {
      const answer = await this.#ask("doctor", { method: "POST" });
      if (answer.ok) await this.#follow(answer.body);
      else this.#findings.problem = (await answer.json()).error.message;
    } catch {
      this.#findings.problem = t("serverLost");
    }
    button.disabled = false;
    this.#drawFindings();
  }

  /** Take the rows of the check as they come, a line of JSON each. */
  async #follow(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        const row = JSON.parse(line);
        if (row.stage) this.#findings.rows.push(row);
        else this.#findings.end = row;
      }
      this.#drawFindings();
    }
    if (this.#findings.end === null) this.#findings.problem = t("serverLost");
  }

  #drawFindings() {
    if (this.#findings === null) return;
    const { rows, end, problem } = this.#findings;
    const shown = rows.map((row) =>
      make(
        "li",
        { class: row.ok ? "good" : "bad" },
        make("span", { class: "stage-name" }, row.stage.toUpperCase()),
        make(
          "div",
          {},
          make("strong", {}, row.engine),
          make("small", {}, row.ok ? `${row.result} · ${Math.round(row.taken_ms)} ms` : row.fix),
        ),
      ),
    );
    const notes = [];
    if (problem) notes.push(make("p", { class: "note error" }, problem));
    else if (end === null) notes.push(make("p", { class: "hint" }, t("checking")));
    else {
      const verdict = t(end.failed ? "checkBad" : "checkGood");
      notes.push(make("p", { class: "hint" }, `${verdict} ${t("checkedSaved")}`));
      notes.push(...end.voices.map((line) => make("p", { class: "hint" }, line)));
    }
    byId("findings").replaceChildren(make("ul", { class: "engines" }, ...shown), ...notes);
  }

  // --- settings -------------------------------------------------------------------------------

  #drawNotice() {
    const { problem, settings } = this.#overview;
    const waiting = settings.filter(({ restart }) => restart).map(({ name }) => name);
    const notice = byId("server-notice");
    notice.classList.toggle("error", problem !== "");
    if (problem) notice.textContent = `${t("wouldNotStart")} ${problem}`;
    else notice.textContent = waiting.length ? `${t("waiting")} ${waiting.join(", ")}` : "";
  }

  /** Save changes; resolves with `{text, wrong}`: what to tell, and the variable at fault. */
  async #save(changes) {
    let answer;
    try {
      answer = await this.#ask("settings", { method: "PUT", body: { changes } });
    } catch {
      return { text: t("serverLost"), wrong: null };
    }
    const told = await answer.json();
    if (!answer.ok) return { text: told.error.message, wrong: told.error.param ?? "" };
    await this.#load();
    const shadowed = told.shadowed.join(", ");
    const parts = [t("savedRestart"), ...(shadowed ? [`${t("savedShadowed")} ${shadowed}`] : [])];
    return { text: parts.join(" "), wrong: undefined };
  }
}

function stageName({ profile, stage }) {
  return `${profile ? `${profile}: ` : ""}${stage.toUpperCase()}`;
}

// Puts the page together: which control does what.

import { byId, make } from "./dom.js";
import { switchLanguage, t, translate } from "./i18n.js";
import { Inspector } from "./inspector.js";
import { Latency } from "./latency.js";
import { Microphone } from "./microphone.js";
import { peakOf } from "./pcm.js";
import { Player } from "./player.js";
import { ServerPage } from "./server.js";
import { Session } from "./session.js";
import { Settings } from "./settings.js";
import { recall, remember } from "./storage.js";
import { Transcript } from "./transcript.js";
import { decodeFile, silence, streamInRealTime } from "./upload.js";
import { Waveform } from "./waveform.js";

const TRAILING_SILENCE_MS = 4000; // at most; it ends when the end of speech is detected

const player = new Player();
const session = new Session(player);
const inspector = new Inspector(session);
const settings = new Settings(session);
const transcript = new Transcript(byId("transcript"), byId("announcer"), session);
const latency = new Latency(byId("turns"), session);
const waveform = new Waveform(byId("waveform"), session);
const server = new ServerPage(() => settings.key, askForKey);
const microphone = new Microphone(heard);

let holding = false; // the button of push to talk
let uploading = null; // {stop} while a file plays into the session
let connecting = null;

// --- connection -------------------------------------------------------------------------------

/** Connect unless connected; resolves with whether there is a session. */
async function ensureSession() {
  if (session.isOpen) return true;
  connecting ??= (async () => {
    player.open();
    transcript.clear();
    latency.clear();
    return session.connect({ model: settings.model, key: settings.key });
  })().finally(() => {
    connecting = null;
  });
  return connecting;
}

session.on("state", async (state) => {
  document.body.dataset.state = state;
  byId("state").dataset.i18n = `state.${state}`;
  if (state === "closed") {
    holding = false;
    if (uploading) uploading.stop = true;
    await microphone.close();
  }
  refresh();
});

session.on("failed", ({ code, reason }) => {
  if (code === 3000) {
    transcript.note(t("fail.key"), "error");
    askForKey();
  } else if (code === "refused" || code === "bad_key") {
    transcript.note(t(`fail.${code}`), "error");
  } else {
    transcript.note(`${t("fail.lost")} (${code}${reason ? `: ${reason}` : ""}).`, "error");
  }
});

session.on("received", (event) => {
  if (event.type === "session.created") loadModels();
  if (event.type === "session.updated" || event.type.startsWith("response.")) refresh();
});

function askForKey() {
  show("settings");
  settings.focusKey();
}

async function loadModels() {
  const key = settings.key;
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const answer = await fetch(new URL("v1/models", document.baseURI), { headers });
  if (!answer.ok) return;
  const { data } = await answer.json();
  byId("models").replaceChildren(...data.map(({ id }) => make("option", { value: id })));
}

// --- voice ------------------------------------------------------------------------------------

function heard(samples, peak) {
  waveform.level("user", settings.pushToTalk && !holding ? 0 : peak);
  if (uploading || (settings.pushToTalk && !holding)) return;
  session.appendAudio(samples);
}

player.on("level", (peak) => waveform.level("assistant", peak));
player.on("busy", refresh);

async function openMicrophone() {
  try {
    await microphone.open(() => {
      transcript.note(t("mic.ended"), "error");
      closeMicrophone();
    });
  } catch (error) {
    const known = ["NotAllowedError", "NotFoundError", "SecurityError"].includes(error.name);
    transcript.note(known ? t(`mic.${error.name}`) : `${t("mic.other")}: ${error.message}`, "error");
  }
}

async function closeMicrophone() {
  await microphone.close();
  refresh();
  await endOpenSpeech();
}

/** A turn that was being spoken ends in silence, as if the speaker had fallen silent. */
async function endOpenSpeech() {
  if (!session.isOpen || settings.pushToTalk) return;
  await streamInRealTime(
    silence(TRAILING_SILENCE_MS),
    (chunk) => session.appendAudio(chunk),
    () => session.isOpen && session.speaking && !microphone.isOpen,
  );
}

async function toggleMicrophone() {
  if (microphone.isOpen) {
    await closeMicrophone();
    return;
  }
  byId("talk").disabled = true;
  if (await ensureSession()) await openMicrophone();
  byId("talk").disabled = false;
  refresh();
}

function hold() {
  if (holding || !microphone.isOpen) return;
  holding = true;
  refresh();
  session.beginTurn();
}

function release() {
  if (!holding) return;
  holding = false;
  session.endTurn();
  refresh();
}

const talk = byId("talk");
const holdsToTalk = () => settings.pushToTalk && microphone.isOpen;
talk.addEventListener("click", () => {
  if (!holdsToTalk()) toggleMicrophone();
});
talk.addEventListener("pointerdown", (event) => {
  if (!holdsToTalk() || event.button !== 0) return;
  talk.setPointerCapture(event.pointerId);
  hold();
});
for (const name of ["pointerup", "pointercancel", "blur"]) talk.addEventListener(name, release);
talk.addEventListener("keydown", (event) => {
  if (!holdsToTalk() || ![" ", "Enter"].includes(event.key)) return;
  event.preventDefault();
  hold();
});
talk.addEventListener("keyup", (event) => {
  if ([" ", "Enter"].includes(event.key)) release();
});
talk.addEventListener("contextmenu", (event) => holdsToTalk() && event.preventDefault());

// --- files ------------------------------------------------------------------------------------

byId("upload").addEventListener("click", () => {
  if (uploading) uploading.stop = true;
  else byId("file").click();
});
byId("file").addEventListener("change", async ({ target }) => {
  const [file] = target.files;
  target.value = "";
  if (file) await playFile(file);
});

async function playFile(file) {
  let samples;
  try {
    samples = await decodeFile(file);
  } catch {
    transcript.note(`${file.name}: ${t("badFile")}`, "error");
    return;
  }
  if (!(await ensureSession())) return;
  const current = { stop: false };
  uploading = current;
  refresh();
  const take = (chunk) => {
    session.appendAudio(chunk);
    waveform.level("user", peakOf(chunk));
  };
  const goOn = () => session.isOpen && !current.stop;
  const byHand = settings.pushToTalk;
  if (byHand) session.beginTurn();
  await streamInRealTime(samples, take, goOn);
  // Silence, until the end of the speech was noticed; its beginning takes a moment to be noticed.
  const since = performance.now();
  const unsettled = () => session.speaking || performance.now() - since < 600;
  if (byHand) session.endTurn();
  else await streamInRealTime(silence(TRAILING_SILENCE_MS), take, () => goOn() && unsettled());
  uploading = null;
  refresh();
}

// --- text -------------------------------------------------------------------------------------

byId("composer").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = byId("message");
  const text = field.value.trim();
  if (!text || !(await ensureSession())) return;
  field.value = "";
  session.sendText(text);
});

byId("stop").addEventListener("click", () => session.interrupt());
byId("disconnect").addEventListener("click", () => session.disconnect());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !byId("stop").disabled) session.interrupt();
});

// --- what is shown ----------------------------------------------------------------------------

function refresh() {
  const pressed = holding || (microphone.isOpen && !settings.pushToTalk);
  let label = "startTalking";
  if (holding) label = "releaseToSend";
  else if (holdsToTalk()) label = "holdToTalk";
  else if (microphone.isOpen) label = "stopTalking";
  byId("talk-label").dataset.i18n = label;
  talk.setAttribute("aria-pressed", String(pressed));
  byId("upload-label").dataset.i18n = uploading ? "stopUpload" : "upload";
  byId("stop").disabled = !session.isOpen || !(session.responding || player.busy);
  byId("disconnect").hidden = session.state === "closed";
  for (const id of ["state", "talk-label", "upload-label"]) {
    byId(id).textContent = t(byId(id).dataset.i18n);
  }
}

const tabs = [...document.querySelectorAll("[role=tab]")];
const narrow = matchMedia("(max-width: 860px)");

function show(view) {
  document.body.dataset.view = view;
  for (const tab of tabs) {
    const selected = tab.dataset.view === view;
    tab.setAttribute("aria-selected", String(selected));
    tab.tabIndex = selected ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).classList.toggle("shown", selected);
  }
  // What came while it was out of sight is below what was seen last.
  if (view === "talk") byId("transcript").scrollTop = byId("transcript").scrollHeight;
  if (view === "events") inspector.scrollToEnd();
  if (view === "server") server.open();
}

for (const tab of tabs) tab.addEventListener("click", () => show(tab.dataset.view));
byId("tabs").addEventListener("keydown", (event) => {
  const visible = tabs.filter((tab) => tab.offsetParent !== null);
  const at = visible.indexOf(document.activeElement);
  const last = visible.length - 1;
  const next = {
    ArrowRight: at === last ? 0 : at + 1,
    ArrowLeft: at === 0 ? last : at - 1,
    Home: 0,
    End: last,
  }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  visible[next].focus();
  show(visible[next].dataset.view);
});

// A wide window always shows the conversation, and beside it one of the others.
function fitWidth() {
  if (!narrow.matches && document.body.dataset.view === "talk") show("settings");
}
narrow.addEventListener("change", fitWidth);

byId("language").addEventListener("click", () => {
  switchLanguage();
  latency.redraw();
  server.redraw();
  refresh();
});

const darkSystem = matchMedia("(prefers-color-scheme: dark)");
function paint() {
  const theme = recall("theme", null) ?? (darkSystem.matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  waveform.recolour();
}
darkSystem.addEventListener("change", paint);
byId("theme").addEventListener("click", () => {
  remember("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  paint();
});

translate();
paint();
// A link may name a view: /#server
show(tabs.find(({ dataset }) => `#${dataset.view}` === location.hash)?.dataset.view ?? "talk");
fitWidth();
refresh();
inspector.clear();
document.body.dataset.ready = "true";

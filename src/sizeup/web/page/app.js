// The page's thread: state in the address, controls to questions, replies to the screen. No number is computed here.

import { busy, copy, offerCopies, say, show, waiting } from "./answer.js";
import { draw, keeping, room, theme } from "./charts.js";
import { pasteDialog, showWhy } from "./dialogs.js";
import { localEngine, workerEngine } from "./engine.js";
import { holdWeights, kindOf, onDrop } from "./files.js";
import { formOf, onChange, readForm, writeForm } from "./form.js";
import { picker } from "./picker.js";
import { fromHash, toHash } from "./state.js";

/** @typedef {import("./state.js").State} State */
/** @typedef {import("./state.js").Flags} Flags */

/** How long to wait for more, while a person is at it [ms]. */
const WAIT = { typing: 350, sliding: 60, done: 0 };

/** How long nothing must be asked before pictures are drawn, and before those that take several answers [ms]. */
const SETTLED_MS = 120;
const QUIET_MS = 800;
/** @param {number} milliseconds @returns {Promise<void>} */
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
/** Pictures are drawn again where their place changes by so much [pixels]. */
const LEAST_CHANGE = 60;

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @param {string} id */
const input = (id) => /** @type {HTMLInputElement} */ (document.getElementById(id));
/** @param {string} id */
const data = (id) => JSON.parse(element(id).textContent ?? "");

const facts = data("facts");
const names = data("catalog");
/** @type {string[]} */
const jobs = Object.keys(facts.first.flags);

/** What each job was last asked; the model and a chosen GPU go along to the others. @type {Record<string, Flags>} */
const asked = structuredClone(facts.first.flags);
/** @type {State} */
let state = { job: facts.first.job, flags: { ...asked[facts.first.job] }, config: null };
/** A weight file whose header the engine keeps. @type {{name: string, model: string} | null} */
let held = null;
/** The request that is shown, for explanations. @type {object} */
let shown = { job: state.job, flags: state.flags };
let latest = 0;
let timer = 0;

/** @param {number} share @param {string} words */
function progress(share, words) {
  const bar = /** @type {HTMLProgressElement} */ (element("engine-progress"));
  bar.hidden = share >= 1;
  bar.value = share;
  element("engine-text").textContent = words;
  element("engine").dataset.ready = String(share >= 1);
}

const engine = facts.engine === "local" ? localEngine() : workerEngine(progress);
if (facts.engine === "local") progress(1, "answered on this machine");
else progress(0, "loading the engine");

/** Flags with the model that a file or a pasted text stands for. @returns {Promise<Record<string, any> | null>} */
async function request() {
  const flags = { ...state.flags };
  if (state.config) {
    const { name, text } = state.config;
    const bytes = new TextEncoder().encode(text);
    const reply = await engine.hold(new File([bytes], name), bytes.buffer);
    if (!reply.ok) {
      show(reply);
      return null;
    }
    flags.model = reply.model;
  } else if (held) flags.model = held.model;
  return { ask: "answer", job: state.job, flags };
}

/** Ask for what the controls say and show it, unless a later question overtakes it. @param {boolean} [focus] */
async function ask(focus = false) {
  const number = ++latest;
  const current = () => number === latest;
  busy(true);
  const question = await request();
  if (!current()) return;
  const reply = question && (await engine.ask(question));
  if (!current()) return;
  busy(false);
  if (!reply || !question) return;
  shown = question;
  keeping(() => show(reply));
  if (focus) element("headline")?.focus();
  if (reply.ok) await pictures(question, current);
}

/** Draw what belongs to the answer, then what takes several answers, once nobody has asked for a while.
 * @param {object} question @param {() => boolean} current */
async function pictures(question, current) {
  await pause(SETTLED_MS);
  if (!current()) return;
  const first = await engine.ask({ ...question, ask: "charts", theme: theme(), width: room() });
  if (!current()) return;
  await draw(first.charts ?? [], current, { add: false });
  await pause(QUIET_MS);
  if (!current()) return;
  const more = await engine.ask({ ...question, ask: "more-charts", theme: theme(), width: room() });
  if (current()) await draw(more.charts ?? [], current, { add: true });
}

/** Put the state into the controls. */
function paint() {
  for (const job of jobs) formOf(job).hidden = job !== state.job;
  for (const tab of element("jobs").querySelectorAll("a")) {
    if (tab.dataset.job === state.job) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  input("model").value = state.flags.model ?? "";
  input("gpu").value = state.flags.gpu ?? "";
  writeForm(formOf(state.job), state.flags);
  const given = held?.name ?? state.config?.name;
  element("given").hidden = !given;
  element("given-name").textContent = given ? `from ${given}` : "";
  input("model").disabled = Boolean(given);
}

/** Take the controls into the state and the address. @param {boolean} [push] */
async function collect(push = false) {
  const flags = readForm(formOf(state.job));
  const [model, gpu] = [input("model").value.trim(), input("gpu").value.trim()];
  if (model) flags.model = model;
  if (gpu) flags.gpu = gpu;
  state = { ...state, flags };
  asked[state.job] = flags;
  await remember(push);
}

/** @param {boolean} push */
async function remember(push) {
  const hash = await toHash(state);
  if (push) history.pushState(null, "", hash);
  else history.replaceState(null, "", hash);
}

/** @param {number} wait */
function askSoon(wait) {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    await collect();
    await ask();
  }, wait);
}

/** @param {string} job */
async function go(job) {
  const { model } = state.flags;
  state = { ...state, job, flags: { ...asked[job], ...(model ? { model } : {}) } };
  paint();
  await remember(true);
  await ask();
}

/** Set flags that a button of the answer brings. @param {Record<string, string | null>} patch */
async function apply(patch) {
  const flags = { ...state.flags };
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete flags[name];
    else flags[name] = value;
  }
  if (patch.model) forget();
  state = { ...state, flags };
  asked[state.job] = flags;
  paint();
  await remember(true);
  await ask(true);
}

function forget() {
  held = null;
  state = { ...state, config: null };
}

/** @param {File} file */
async function take(file) {
  const kind = kindOf(file);
  forget();
  if (kind === "config") return useConfig(file.name, await file.text());
  busy(true);
  const reply = kind ? await holdWeights(file, engine) : refusal(file);
  busy(false);
  if (!reply.ok) {
    latest += 1;
    show(reply);
    return;
  }
  held = { name: file.name, model: reply.model };
  delete state.flags.model;
  paint();
  say(`${file.name}: header read`);
  await remember(true);
  await ask(true);
}

/** @param {File} file @returns {import("./engine.js").Reply} */
function refusal(file) {
  const error = `${file.name} is neither a config.json nor a weight file`;
  return { ok: false, error, hint: "read are .json up to 1 MiB, .safetensors and .gguf" };
}

/** @param {string} name @param {string} text */
async function useConfig(name, text) {
  held = null;
  const { model, ...flags } = state.flags;
  state = { ...state, flags, config: { name: name || model || "config.json", text } };
  paint();
  await remember(true);
  await ask(true);
}

/** @param {MouseEvent} event */
function pressed(event) {
  const button = /** @type {Element} */ (event.target).closest("button");
  if (!(button instanceof HTMLButtonElement)) return;
  const { why, patch, copy: text } = button.dataset;
  if (why) void showWhy(engine.ask({ ...shown, ask: "why", number: Number(why) }));
  else if (patch) void apply(JSON.parse(patch));
  else if (text !== undefined) void copy(text, button);
  else if (button.id === "copy-link") void copy(location.href, button);
}

async function restore() {
  const found = await fromHash(location.hash, jobs);
  if (!found) return false;
  held = null;
  const empty = !Object.keys(found.flags).length && !found.config;
  state = empty ? { ...found, flags: { ...asked[found.job] } } : found;
  asked[state.job] = state.flags;
  paint();
  return true;
}

picker(input("model"), names.models, () => askSoon(0));
picker(input("gpu"), names.machines, () => askSoon(0));
onChange(element("forms"), (how) => askSoon(WAIT[how]));
for (const id of ["model", "gpu"]) {
  input(id).addEventListener("change", () => askSoon(WAIT.done));
}
element("jobs").addEventListener("click", (event) => {
  const tab = /** @type {Element} */ (event.target).closest("a");
  if (!tab?.dataset.job || event.metaKey || event.ctrlKey) return;
  event.preventDefault();
  void go(tab.dataset.job);
});
element("answer").addEventListener("click", pressed);
element("given-drop").addEventListener("click", () => {
  forget();
  state.flags.model = facts.first.flags[state.job].model;
  paint();
  askSoon(0);
  input("model").focus();
});
element("reset").addEventListener("click", () => {
  forget();
  state = { ...state, flags: { ...facts.first.flags[state.job] } };
  paint();
  askSoon(0);
});
element("sticky").addEventListener("click", () => element("answer").scrollIntoView());
new IntersectionObserver(([seen]) => (element("sticky").hidden = seen.isIntersecting)).observe(element("result"));
element("skip").addEventListener("click", (event) => {
  event.preventDefault();
  element("answer").focus();
});
pasteDialog((text) => void useConfig("config.json", text), (file) => void take(file));
onDrop(element("drop"), (file) => void take(file));
addEventListener("popstate", async () => {
  if (await restore()) await ask();
});
let wide = room();
addEventListener("resize", () => {
  if (Math.abs(room() - wide) < LEAST_CHANGE) return;
  wide = room();
  askSoon(WAIT.typing);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => void ask());

document.documentElement.dataset.started = "true";
if (location.hash) waiting();
if (await restore()) await ask();
else {
  busy(false);
  paint();
  offerCopies(facts.copies, facts.text);
  void pictures(shown, () => !latest);
}

// The page: sources in, worker in the middle, canvas and figures out.

import { UserError } from "./description.js";
import { draw, isLane, present, shownBoxes, words } from "./draw.js";
import { colour, css } from "./colours.js";
import { Film, open } from "./source.js";

const $ = id => document.getElementById(id);
const WINDOW_MS = 3000; // frames per second are those of the last three seconds

export const state = {
  description: null, engine: "", hidden: new Set(), score: null, outputs: null, bitmap: null,
  source: null, busy: false, paused: false, ends: [], frames: 0, timings: {},
};
const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
const answers = { ready, scene, error: failed };

worker.onmessage = ({ data }) => answers[data.type](data);
worker.onerror = event => problem(`the page's worker does not start (${event.message ?? "no reason given"}); ` +
                                  "use a current Chrome, Edge, Firefox or Safari");

// ---- model

async function loadModel(read, source) {
  say(`loading ${source} …`);
  problem("");
  try {
    const bytes = new Uint8Array(await read());
    worker.postMessage({ type: "load", bytes, source, engine: $("engine").value }, [bytes.buffer]);
  } catch (error) {
    problem(error instanceof UserError ? error.message
      : `${source} could not be fetched (${error.message}); is the server still running?`);
    say("no model");
  }
}

async function fetchModel(file) {
  const answer = await fetch(`./${file}`);
  if (!answer.ok) throw new UserError(`${file}: the server answers ${answer.status}; drop an .onnx here`);
  return answer.arrayBuffer();
}

let reload = () => loadModel(() => fetchModel("model.onnx"), "model.onnx");

/** Offers the models of the server where there are several. */
async function choices() {
  const listed = await fetch("./models.json").then(answer => answer.json());
  $("which").replaceChildren(...listed.map(({ name, file }) => new Option(`model: ${name}`, file)));
  $("which").hidden = listed.length < 2;
}

function choose(file) {
  reload = () => loadModel(() => fetchModel(file), file);
  reload();
}

function ready({ description, engine, threads, note }) {
  Object.assign(state, { description, engine, outputs: null, hidden: new Set() });
  const where = engine === "wasm" ? `WASM, ${threads} thread${threads === 1 ? "" : "s"}` : "WebGPU";
  state.engine = where;
  $("model").textContent = `${description.name} · ${description.sizeHw[1]}×${description.sizeHw[0]} · ${where}`;
  $("note").textContent = note;
  $("licence").textContent = description.licence;
  $("score").value = description.boxScore;
  scored(null);
  $("scoring").hidden = !description.tasks.some(task => task.kind === "boxes");
  switches();
  say("ready: drop a photo or a clip");
  state.source?.again();
}

function failed({ message }) {
  state.busy = false;
  problem(message);
  say(state.description ? `ready: ${state.description.name} stays loaded` : "no model: drop an .onnx here");
}

// ---- frames

async function step() {
  const { source } = state;
  if (source && state.description && !state.busy && !state.paused) {
    state.busy = true;
    const bitmap = await source.frame().catch(error => problem(error.message));
    if (bitmap && source === state.source) worker.postMessage({ type: "run", bitmap }, [bitmap]);
    else state.busy = false;
  }
  requestAnimationFrame(step);
}

function scene({ outputs, timings, bitmap }) {
  state.busy = false;
  state.bitmap?.close();
  Object.assign(state, { outputs, bitmap });
  state.frames++;
  state.ends.push(performance.now());
  state.ends = state.ends.filter(end => end > state.ends.at(-1) - WINDOW_MS);
  const start = performance.now();
  paint();
  for (const [stage, ms] of Object.entries({ ...timings, draw: performance.now() - start }))
    (state.timings[stage] = (state.timings[stage] ?? []).slice(-99)).push(ms);
  figures();
}

function paint() {
  if (!state.outputs) return;
  const { bitmap, outputs, description, hidden, score } = state;
  draw($("canvas"), bitmap, outputs, description, hidden, score);
  const shown = description.tasks.filter(task => !hidden.has(task.name));
  const names = shown.filter(task => task.kind === "label").flatMap(task => outputs[task.name].best)
    .map(({ name, share }) => chip(`${name} ${Math.round(100 * share)} %`));
  $("labels").replaceChildren(...names);
  const legend = shown.flatMap(task => legendNames(task, outputs[task.name]));
  $("legend").replaceChildren(...[...new Set(legend)].map(name => chip(words(name), css(colour(name)), name)));
}

function legendNames(task, output) {
  if (task.kind === "mask") return present(output, task);
  if (task.kind !== "boxes") return [];
  return [...new Set(shownBoxes(output, task, state.score).map(box => box.name))];
}

function chip(text, ink, tip = "") {
  const made = document.createElement("span");
  made.textContent = text;
  made.title = tip; // the class as the model calls it
  if (ink) made.style.setProperty("--ink", ink);
  return made;
}

function figures() {
  const seconds = (state.ends.at(-1) - state.ends[0]) / 1000;
  const rate = state.source.moves && seconds ? `${((state.ends.length - 1) / seconds).toFixed(1)} frames/s · ` : "";
  say(`${rate}${state.source.name} · ${state.bitmap.width}×${state.bitmap.height}`);
  const rows = Object.entries(state.timings).map(([stage, times]) => {
    const row = document.createElement("tr"), sorted = [...times].sort((a, b) => a - b);
    const at = share => `${sorted[Math.min(Math.floor(share * sorted.length), sorted.length - 1)].toFixed(1)} ms`;
    for (const text of [stage, at(0.5), at(0.9)])
      row.appendChild(document.createElement("td")).textContent = text;
    return row;
  });
  $("stages").replaceChildren(...rows);
}

// ---- controls

async function use(opening) {
  problem("");
  try {
    const source = await opening;
    state.source?.close();
    Object.assign(state, { source, paused: false, ends: [], timings: {} });
    document.body.classList.add("busy");
    $("pause").hidden = !source.moves;
    pressed($("pause"), false);
  } catch (error) {
    problem(error.message);
  }
}

function take(files) {
  const [file] = files;
  if (!file) return;
  if (!file.name.endsWith(".onnx")) return use(open(file));
  reload = () => loadModel(() => file.arrayBuffer(), file.name);
  reload();
}

const pressed = (button, on) => button.setAttribute("aria-pressed", on);

function switches() {
  const made = state.description.tasks.map(task => {
    const button = document.createElement("button");
    button.textContent = task.title;
    button.title = isLane(task) ? "lane lines by type" : task.kind;
    pressed(button, true);
    button.onclick = () => {
      const on = state.hidden.delete(task.name) || !state.hidden.add(task.name);
      pressed(button, on);
      paint();
    };
    return button;
  });
  $("switches").replaceChildren(...made);
}

/** Draws boxes from this score on; null: from the score that the file states for each class. */
function scored(score) {
  state.score = score;
  $("from").textContent = score === null ? "the file" : score.toFixed(2);
  paint();
}

function pause() {
  state.paused = !state.paused;
  state.source?.[state.paused ? "pause" : "play"]();
  pressed($("pause"), state.paused);
}

function save() {
  if (!state.bitmap) return;
  $("canvas").toBlob(blob => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${state.source.name.replace(/\.[^.]*$/, "")}-perceived.png`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

const say = text => { $("rate").textContent = text; };

function problem(text) {
  $("problem").textContent = text ?? "";
  $("problem").hidden = !text;
}

/** Threads need two headers. Where the server does not send them, a service worker adds them. */
async function isolate() {
  if (crossOriginIsolated || !isSecureContext || !navigator.serviceWorker || sessionStorage.isolated) return;
  sessionStorage.isolated = "tried";
  await navigator.serviceWorker.register(new URL("./isolate.js", import.meta.url));
  await navigator.serviceWorker.ready;
  location.reload();
  await new Promise(() => {}); // the page is about to go
}

$("file").onchange = event => { take(event.target.files); event.target.value = ""; };
$("camera").onclick = () => use(Film.camera());
$("pause").onclick = pause;
$("save").onclick = save;
$("engine").onchange = () => reload();
$("which").onchange = event => choose(event.target.value);
$("score").oninput = event => scored(Number(event.target.value));
document.ondragover = event => { event.preventDefault(); document.body.classList.add("over"); };
document.ondragleave = () => document.body.classList.remove("over");
document.ondrop = event => {
  event.preventDefault();
  document.body.classList.remove("over");
  take(event.dataTransfer.files);
};
document.onkeydown = event => {
  if (event.key === " " && event.target === document.body) { event.preventDefault(); pause(); }
};

await isolate().catch(() => {}); // without it there is one thread instead of several
$("engine").value = new URL(location).searchParams.get("engine") ?? "auto";
if (!$("engine").value) $("engine").value = "auto";
choices().catch(() => {}); // a folder without the list has one model
reload();
step();

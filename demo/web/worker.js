// Runs the model outside the page's thread, so that the page stays responsive.
//
// In:  {type: "load", bytes, source, engine: "auto" | "webgpu" | "wasm"}
//      {type: "run", bitmap}
// Out: {type: "ready", description, engine, threads, note}
//      {type: "scene", outputs, timings, bitmap}
//      {type: "error", message}

import { Letterbox } from "./letterbox.js";
import { readDescription, UserError } from "./description.js";
import { readScene } from "./scene.js";

const RUNTIME = new URL("./ort/", import.meta.url);
const ENGINES = { webgpu: "ort.webgpu.min.mjs", wasm: "ort.wasm.min.mjs" };
const MAX_THREADS = 8;

let model = null; // {ort, session, description}
let canvas = null;
let queue = Promise.resolve();

onmessage = ({ data }) => {
  const work = { load, run }[data.type];
  queue = queue.then(() => work(data)).catch(error => {
    if (!(error instanceof UserError)) console.error(error);
    postMessage({ type: "error", message: error.message ?? String(error) });
  });
};

async function load({ bytes, source, engine }) {
  const description = readDescription(bytes, source);
  const threads = self.crossOriginIsolated ? threadCount() : 1;
  const notes = threads === 1 && !self.crossOriginIsolated
    ? ["one thread only: the server does not send the headers that threads need"] : [];
  const wanted = engine === "auto" ? ["webgpu", "wasm"] : [engine];
  for (const name of wanted) {
    try {
      const made = await open(name, threads, bytes, description, source);
      await model?.session.release();
      model = made;
      return postMessage({ type: "ready", description, engine: name, threads, note: notes.join("; ") });
    } catch (error) {
      if (error instanceof UserError || name === wanted.at(-1)) throw error;
      notes.push(`${name} is not used: ${error.message}`);
    }
  }
}

function threadCount() {
  const cores = navigator.hardwareConcurrency || 1;
  return Math.min(MAX_THREADS, cores > 4 ? Math.ceil(cores / 2) : cores);
}

/** A session on one engine, tried once on a plain frame: WebGPU can fail as late as then. */
async function open(engine, threads, bytes, description, source) {
  if (engine === "webgpu" && !(await navigator.gpu?.requestAdapter()))
    throw new Error("this browser offers no WebGPU adapter; WASM needs none");
  if (typeof WebAssembly !== "object")
    throw new UserError("this browser has no WebAssembly; use a current Chrome, Edge, Firefox or Safari");
  const ort = await runtime(engine, threads);
  let session;
  try {
    session = await ort.InferenceSession.create(bytes, { executionProviders: [engine] });
  } catch (error) {
    throw engine === "wasm" ? new UserError(`${source}: cannot be loaded (${error.message})`) : error;
  }
  const absent = description.tasks.map(t => t.name).filter(n => !session.outputNames.includes(n));
  if (absent.length || session.inputNames.length !== 1)
    throw new UserError(`${source}: its description names outputs that it lacks: ${absent}`);
  const made = { ort, session, description };
  const [height, width] = description.sizeHw;
  await infer(made, new Uint8Array(height * width * 3).fill(description.padValue));
  return made;
}

async function runtime(engine, threads) {
  let ort;
  try {
    ort = await import(new URL(ENGINES[engine], RUNTIME));
  } catch (error) {
    throw new UserError(`onnxruntime-web could not be loaded from ${RUNTIME.pathname} ` +
                        `(${error.message}); is the server still running?`);
  }
  ort.env.wasm.wasmPaths = RUNTIME.href;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  return ort;
}

/** {output name: typed array} for a uint8 (1, H, W, 3) BGR image. */
async function infer({ ort, session, description }, image) {
  const tensor = new ort.Tensor("uint8", image, [1, ...description.sizeHw, 3]);
  const results = await session.run({ [session.inputNames[0]]: tensor });
  return Object.fromEntries(Object.entries(results).map(([name, value]) => [name, value.data]));
}

async function run({ bitmap }) {
  if (!model) throw new UserError("no model is loaded");
  const start = performance.now();
  const box = new Letterbox([bitmap.height, bitmap.width], model.description.sizeHw,
                            model.description.padValue);
  const image = box.apply(pixels(bitmap));
  const prepared = performance.now();
  const raw = await infer(model, image);
  const ran = performance.now();
  const outputs = readScene(raw, model.description, box);
  const timings = { prepare: prepared - start, model: ran - prepared, read: performance.now() - ran };
  postMessage({ type: "scene", outputs, timings, bitmap }, [bitmap]);
}

/** RGBA bytes of a bitmap. */
function pixels(bitmap) {
  if (canvas?.width !== bitmap.width || canvas?.height !== bitmap.height)
    canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height).data;
}

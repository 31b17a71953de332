// The description inside a model file: the JSON text under ModelProto.metadata_props["perception"].
// onnxruntime-web has no call that returns metadata_props, so the protobuf is read here.

const KEY = "perception";
const FORMAT = 1;
const KINDS = ["boxes", "mask", "label", "map", "normals"];
const MAX_BYTES = 1 << 29;
const MAX_PIXELS_SIDE = 8192;
const METADATA_PROPS = 14; // field number in onnx.proto3, message ModelProto
const BOX_SCORE = 0.3; // where the file states no threshold
export const LANE_BYTE = "bdd100k-lane-byte";

/** An error whose message is meant for the person at the page. */
export class UserError extends Error {}

/** The description of the model in `bytes` (Uint8Array). Throws UserError where there is none. */
export function readDescription(bytes, source) {
  if (bytes.length === 0 || bytes.length > MAX_BYTES)
    throw new UserError(`${source}: ${bytes.length} bytes; a model has 1 byte to 512 MB`);
  let text;
  try {
    text = metadata(bytes).get(KEY);
  } catch (error) {
    throw new UserError(`${source}: not an ONNX file (${error.message})`);
  }
  if (text === undefined)
    throw new UserError(
      `${source}: an ONNX file without a "${KEY}" description; make one with export-onnx`);
  return parse(text, source);
}

/** Map of all metadata_props of a serialised ModelProto. Throws where the bytes are malformed. */
function metadata(bytes) {
  const found = new Map();
  const decoder = new TextDecoder("utf-8", { fatal: true });
  for (const [field, start, stop] of fields(bytes, 0, bytes.length)) {
    if (field !== METADATA_PROPS || stop < 0) continue;
    const entry = {};
    for (const [part, from, to] of fields(bytes, start, stop))
      if (to >= 0) entry[part] = decoder.decode(bytes.subarray(from, to));
    found.set(entry[1] ?? "", entry[2] ?? "");
  }
  return found;
}

/** [field, start, stop] of each length-delimited field, [field, value, -1] of each number. */
function* fields(bytes, at, end) {
  const varint = () => {
    let value = 0;
    for (let factor = 1; factor < 2 ** 63; factor *= 128) {
      if (at >= end) throw new Error(`it ends at byte ${end}`);
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
    throw new Error(`byte ${at} is not part of a number`);
  };
  while (at < end) {
    const tag = varint();
    const field = Math.floor(tag / 8), wire = tag % 8;
    if (wire === 0) {
      yield [field, varint(), -1];
      continue;
    }
    if (wire !== 1 && wire !== 2 && wire !== 5) throw new Error(`wire type ${wire} at byte ${at}`);
    const length = wire === 2 ? varint() : wire === 1 ? 8 : 4;
    if (length > end - at) throw new Error(`it ends at byte ${end}, ${at + length} were expected`);
    yield wire === 2 ? [field, at, at + length] : [field, 0, -1];
    at += length;
  }
}

function parse(text, source) {
  const malformed = why =>
    new UserError(`${source}: malformed description (${why}); export the model again`);
  let data;
  try {
    data = JSON.parse(text);
  } catch (error) {
    throw malformed(error.message);
  }
  if (data?.format !== FORMAT)
    throw new UserError(`${source}: description format ${data?.format}, this page reads ${FORMAT}`);
  const [height, width] = data.size_hw ?? [];
  if (![height, width].every(n => Number.isInteger(n) && n >= 1 && n <= MAX_PIXELS_SIDE))
    throw malformed(`size_hw ${data.size_hw}`);
  const pad = data.letterbox?.pad_value;
  if (!Number.isInteger(pad) || pad < 0 || pad > 255) throw malformed(`pad_value ${pad}`);
  if (!Array.isArray(data.tasks) || !data.tasks.length) throw malformed("no tasks");
  for (const task of data.tasks)
    if (typeof task?.name !== "string" || !KINDS.includes(task.kind))
      throw malformed(`task ${task?.name} of kind ${task?.kind}`);
  const scores = data.scores ?? {}, boxScore = f1Score(scores);
  for (const task of data.tasks) {
    task.shown = shownScores(task, scores[task.name], boxScore);
    task.title = title(task);
  }
  return {
    name: String(data.name), sizeHw: [height, width], padValue: pad, tasks: data.tasks, boxScore,
    licence: String(data.licence ?? ""),
  };
}

/** An output's name on the page, as View.title in perception/runtime/description.py. */
function title({ name, kind, encoding }) {
  if (encoding === LANE_BYTE) return "Lanes";
  return { boxes: "Objects", label: "Scene" }[kind] ?? name[0].toUpperCase() + name.slice(1).toLowerCase();
}

/** {class: score from which its boxes are drawn}: what the file states, else `boxScore`. */
function shownScores(task, stored, boxScore) {
  const score = name => {
    const value = stored?.[`shown_threshold/${name}`];
    return typeof value === "number" && value >= 0 && value <= 100 ? value / 100 : boxScore;
  };
  return Object.fromEntries((task.classes ?? []).map(name => [name, score(name)]));
}

/** The score where F1 was best on validation frames: the lowest threshold that the file states. */
function f1Score(scores) {
  const known = Object.values(scores).map(s => s?.threshold).filter(t => typeof t === "number");
  return known.length ? Math.min(1, Math.max(0, Math.min(...known) / 100)) : BOX_SCORE;
}

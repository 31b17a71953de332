// Draws a scene on a canvas by kind of output: areas, lane marks, boxes, labels, maps.

import { colour, css } from "./colours.js";
import { LANE_BYTE } from "./description.js";
import { findLanes, isAlong } from "./lanes.js";

const BACKGROUND = "background";
// The lane byte: category in bits 0 to 2, then one bit each.
const CATEGORY = 7, OUTSIDE = 8, STYLE = 16;
const AREA_OPACITY = 0.38, AREA_RIM = 0.75, DASHED_OPACITY = 0.7;
const LEGEND = { direct: "own lane", alternative: "other lanes" }; // classes in people's words
const small = document.createElement("canvas"); // masks at the model's resolution

/** Draws frame and scene. `hidden` holds names of outputs; boxes below `score` (null: below the
 *  score that the file states for their class) are left out. */
export function draw(canvas, bitmap, outputs, description, hidden, score) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height)
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const shown = description.tasks.filter(task => !hidden.has(task.name));
  const masks = shown.filter(task => task.kind === "mask");
  let covering = masks.filter(coversFrame);
  if (covering.length === masks.length) covering = covering.slice(1); // one may cover the frame
  const onFrame = masks.filter(task => !covering.includes(task));
  for (const task of onFrame.sort((a, b) => isLane(a) - isLane(b)))
    overlay(context, outputs[task.name], task);
  for (const task of shown) if (task.kind === "boxes")
    boxes(context, shownBoxes(outputs[task.name], task, score));
  const pictures = [...covering, ...shown.filter(t => t.kind === "map" || t.kind === "normals")];
  insets(context, pictures, outputs);
}

export const shownBoxes = (output, task, score) =>
  output.boxes.filter(box => box.score >= (score ?? task.shown[box.name]));

export const isLane = task => task.encoding === LANE_BYTE;
const coversFrame = task => !isLane(task) && !task.classes.includes(BACKGROUND);

/** Classes or lane categories of a mask that occur in it, for the legend. */
export function present(output, task) {
  const seen = new Set(output.values);
  const names = [...seen].map(value => className(value, task));
  return [...new Set(names)].filter(name => name !== undefined).sort();
}

function className(value, task) {
  if (isLane(task)) return value & OUTSIDE ? undefined : task.categories[value & CATEGORY];
  const name = task.classes[value];
  return name === BACKGROUND ? undefined : name;
}

/** RGBA per mask value (256, 4); values without a class are transparent. */
function palette(task) {
  const table = new Uint8Array(256 * 4);
  for (let value = 0; value < 256; value++) {
    const name = value < 64 || !isLane(task) ? className(value, task) : undefined;
    if (name === undefined) continue;
    table.set(colour(name), 4 * value);
    table[4 * value + 3] = isLane(task) ? 255 * (value & STYLE ? DASHED_OPACITY : 1) : 255;
  }
  return table;
}

function overlay(context, output, task) {
  const [height, width] = output.hw, table = palette(task), lane = isLane(task);
  const image = new ImageData(width, height), rgba = image.data, values = output.values;
  const crosswalk = lane ? task.categories.indexOf("crosswalk") : -1;
  const skip = value => table[4 * value + 3] === 0 || (lane && isAlong(value, crosswalk));
  const clear = at => skip(values[at]);
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at++) {
      const from = 4 * values[at], to = 4 * at;
      if (skip(values[at])) continue;
      const rim = ((x > 0 && clear(at - 1)) || (x + 1 < width && clear(at + 1)) ||
                            (y > 0 && clear(at - width)) || (y + 1 < height && clear(at + width)));
      rgba[to] = table[from];
      rgba[to + 1] = table[from + 1];
      rgba[to + 2] = table[from + 2];
      rgba[to + 3] = table[from + 3] * (rim ? AREA_RIM : AREA_OPACITY);
    }
  [small.width, small.height] = [width, height];
  small.getContext("2d").putImageData(image, 0, 0);
  context.save();
  context.imageSmoothingQuality = "high";
  const enlarged = context.canvas.width / width;
  if (enlarged > 1) context.filter = `blur(${0.6 * enlarged}px)`; // pixel stairs become slopes
  context.drawImage(small, 0, 0, context.canvas.width, context.canvas.height);
  context.restore();
  if (lane) for (const line of findLanes(values, output.hw, crosswalk)) marking(context, line, output.hw, task);
}

/** A line as wide as the marking over a dark rim, dashed ones lighter. */
function marking(context, { points, category, dashed }, [height, width], task) {
  const scaleX = context.canvas.width / width, scaleY = context.canvas.height / height;
  const rim = Math.max(1, context.canvas.height / 600);
  for (const [wider, ink] of [[rim, "rgb(60 60 60)"], [0, css(colour(task.categories[category]), dashed ? DASHED_OPACITY : 1)]]) {
    context.beginPath();
    for (const [x, y, wide] of points)
      context.lineTo((x - wide / 2) * scaleX - wider, y * scaleY);
    for (const [x, y, wide] of [...points].reverse())
      context.lineTo((x + wide / 2) * scaleX + wider, y * scaleY);
    context.closePath();
    context.fillStyle = ink;
    context.fill();
  }
}

/** A class in people's words. */
export const words = name => LEGEND[name] ?? name;

function boxes(context, kept) {
  const { width, height } = context.canvas;
  const text = Math.min(40, Math.max(11, Math.round(Math.min(width, height) / 42)));
  const line = Math.max(1.5, text / 9);
  kept.sort((a, b) => a.xyxy[3] - b.xyxy[3]); // far ones first
  context.save();
  for (const { xyxy: [x1, y1, x2, y2], name } of kept) {
    for (const [ink, wide] of [["rgb(0 0 0 / 0.55)", line + 2], [css(colour(name)), line]]) {
      context.strokeStyle = ink;
      context.lineWidth = wide;
      context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    }
  }
  const taken = [];
  for (const box of kept.reverse()) chip(context, box, text, taken);
  context.restore();
}

/** The class above its box, unless the name of a nearer box is there. */
function chip(context, { xyxy: [x1, y1], name, score }, height, taken) {
  context.font = `600 ${height}px system-ui, sans-serif`;
  const text = `${name} ${Math.round(100 * score)} %`;
  const wide = context.measureText(text).width + height * 0.8, tall = height * 1.4;
  const x = Math.max(0, Math.min(x1, context.canvas.width - wide)), y = Math.max(0, y1 - tall);
  if (taken.some(t => x < t[0] + t[2] && t[0] < x + wide && y < t[1] + tall && t[1] < y + tall)) return;
  taken.push([x, y, wide]);
  const [red, green, blue] = colour(name);
  context.fillStyle = css([red, green, blue], 0.88);
  context.beginPath();
  context.roundRect(x, y, wide, tall, height * 0.25);
  context.fill();
  context.fillStyle = 0.299 * red + 0.587 * green + 0.114 * blue > 120 ? "#0e1014" : "#f5f5f5";
  context.fillText(text, x + height * 0.4, y + height * 1.03);
}

/** Small pictures with their names in the upper right corner. */
function insets(context, tasks, outputs) {
  const { width, height } = context.canvas, margin = Math.max(8, Math.round(height / 52));
  const wide = Math.min(width / 5, (width - margin) / Math.max(tasks.length, 1) - margin);
  let x = width - margin;
  for (const task of tasks) {
    const tall = (wide * height) / width, output = outputs[task.name];
    x -= wide;
    [small.width, small.height] = [output.hw[1], output.hw[0]];
    small.getContext("2d").putImageData(picture(output, task), 0, 0);
    context.fillStyle = "rgb(240 240 240 / 0.9)";
    context.fillRect(x - 2, margin - 2, wide + 4, tall + 4);
    context.drawImage(small, x, margin, wide, tall);
    context.font = `600 ${margin}px system-ui, sans-serif`;
    context.fillText(task.title, x + margin / 2, margin * 2.2);
    x -= margin;
  }
}

function picture(output, task) {
  const image = new ImageData(output.hw[1], output.hw[0]), rgba = image.data;
  const count = output.hw[0] * output.hw[1];
  const pixel = { mask: maskPixel, map: mapPixel, normals: normalPixel }[task.kind](output, task);
  for (let i = 0; i < count; i++) {
    rgba.set(pixel(i), 4 * i);
    rgba[4 * i + 3] = 255;
  }
  return image;
}

function maskPixel({ values }, task) {
  const table = palette(task);
  return i => table.subarray(4 * values[i], 4 * values[i] + 3);
}

/** Near is warm, far is cold, on a logarithmic scale. */
function mapPixel({ values }, task) {
  const finite = values.filter(Number.isFinite);
  const low = task.range?.[0] ?? finite.reduce((a, b) => Math.min(a, b), Infinity);
  const high = task.range?.[1] ?? finite.reduce((a, b) => Math.max(a, b), -Infinity);
  const full = Math.max(Math.log1p(high - low), 1e-6);
  return i => {
    if (!Number.isFinite(values[i])) return [0, 0, 0];
    const near = 1 - Math.log1p(Math.min(Math.max(values[i], low), high) - low) / full;
    return [255 * near, 255 * (1 - Math.abs(2 * near - 1)), 255 * (1 - near)];
  };
}

function normalPixel({ planes }) {
  return i => planes.map(plane => 127.5 * ((plane[i] || 0) + 1));
}

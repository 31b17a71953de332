// Frame to model input and back, as perception/runtime/letterbox.py does it: scale to fit, centre,
// pad. A frame more than twice as large is halved first, so that thin lane lines stay visible.

const ONE = 2048; // a weight of 1 in whole numbers

/** The geometry between a frame and the model's input, both [height, width]. */
export class Letterbox {
  constructor(frameHw, sizeHw, padValue) {
    const scale = Math.min(sizeHw[0] / frameHw[0], sizeHw[1] / frameHw[1]);
    this.frameHw = frameHw;
    this.sizeHw = sizeHw;
    this.padValue = padValue;
    this.innerHw = frameHw.map((f, i) => Math.min(sizeHw[i], Math.max(1, roundEven(f * scale))));
    this.top = (sizeHw[0] - this.innerHw[0]) >> 1;
    this.left = (sizeHw[1] - this.innerHw[1]) >> 1;
  }

  /** Uint8Array (1, H, W, 3) BGR at the model's size, from RGBA pixels of the frame. */
  apply(rgba) {
    const [height, width] = this.sizeHw, [innerH, innerW] = this.innerHw;
    const out = new Uint8Array(height * width * 3).fill(this.padValue);
    let [h, w] = this.frameHw, bgr = blueFirst(rgba);
    while (h > 2 * innerH || w > 2 * innerW) {
      const halfHw = [Math.max(1, h >> 1), Math.max(1, w >> 1)];
      bgr = resize(bgr, [h, w], halfHw);
      [h, w] = halfHw;
    }
    bgr = resize(bgr, [h, w], this.innerHw);
    for (let y = 0; y < innerH; y++) {
      const row = bgr.subarray(y * innerW * 3, (y + 1) * innerW * 3);
      out.set(row, ((y + this.top) * width + this.left) * 3);
    }
    return out;
  }

  /** [x1, y1, x2, y2] in frame pixels, clipped to the frame. */
  boxToFrame(x1, y1, x2, y2) {
    const scaleX = this.innerHw[1] / this.frameHw[1], scaleY = this.innerHw[0] / this.frameHw[0];
    const clip = (value, most) => Math.min(Math.max(value, 0), most);
    const [h, w] = this.frameHw;
    return [clip((x1 - this.left) / scaleX, w), clip((y1 - this.top) / scaleY, h),
            clip((x2 - this.left) / scaleX, w), clip((y2 - this.top) / scaleY, h)];
  }

  /** The part of one (H, W) plane that shows the frame, as an array of the same type. */
  crop(plane) {
    const [innerH, innerW] = this.innerHw, width = this.sizeHw[1];
    const out = new plane.constructor(innerH * innerW);
    for (let y = 0; y < innerH; y++) {
      const start = (y + this.top) * width + this.left;
      out.set(plane.subarray(start, start + innerW), y * innerW);
    }
    return out;
  }
}

/** Half to even, as Python's round() does. */
function roundEven(value) {
  const floor = Math.floor(value), rest = value - floor;
  return rest !== 0.5 ? Math.round(value) : floor % 2 ? floor + 1 : floor;
}

function blueFirst(rgba) {
  const bgr = new Uint8Array(rgba.length / 4 * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    bgr[to] = rgba[from + 2];
    bgr[to + 1] = rgba[from + 1];
    bgr[to + 2] = rgba[from];
  }
  return bgr;
}

/** Uint8Array (h, w, 3) at another size, between the two nearest columns and rows: OpenCV's
 *  INTER_LINEAR with its whole numbers. */
function resize(bgr, fromHw, toHw) {
  const [sourceH, sourceW] = fromHw, [height, width] = toHw;
  const half = sourceH === 2 * height && sourceW === 2 * width; // OpenCV rounds only this exactly
  const columns = taps(sourceW, width), rows = taps(sourceH, height);
  const lines = new Map(); // the two source rows in use, at the new width
  const line = (row) => {
    if (!lines.has(row)) {
      if (lines.size > 1) lines.delete(lines.keys().next().value);
      lines.set(row, narrow(bgr, row * sourceW, columns));
    }
    return lines.get(row);
  };
  const out = new Uint8Array(height * width * 3);
  for (let y = 0; y < height; y++) {
    const upper = line(rows.at[0][y]), lower = line(rows.at[1][y]);
    const [a, b] = [rows.weight[0][y], rows.weight[1][y]];
    for (let i = 0, to = y * width * 3; i < width * 3; i++, to++) {
      out[to] = half ? (upper[i] + lower[i] + ONE) >> 12
        : (((a * (upper[i] >> 4)) >> 16) + ((b * (lower[i] >> 4)) >> 16) + 2) >> 2;
    }
  }
  return out;
}

function narrow(bgr, row, { at: [low, high], weight: [a, b] }) {
  const line = new Int32Array(low.length * 3);
  for (let x = 0, to = 0; x < low.length; x++) {
    const left = (row + low[x]) * 3, right = (row + high[x]) * 3;
    for (let c = 0; c < 3; c++, to++) line[to] = a[x] * bgr[left + c] + b[x] * bgr[right + c];
  }
  return line;
}

/** For each of `to` pixels, the two source pixels next to it and their weights, of ONE together. */
function taps(from, to) {
  const at = [new Int32Array(to), new Int32Array(to)];
  const weight = [new Int32Array(to), new Int32Array(to)];
  for (let i = 0; i < to; i++) {
    const place = Math.fround((i + 0.5) * (from / to) - 0.5), low = Math.floor(place);
    for (const k of [0, 1]) {
      at[k][i] = Math.min(Math.max(low + k, 0), from - 1);
      weight[k][i] = roundEven(ONE * (k ? place - low : 1 - (place - low)));
    }
  }
  return { at, weight };
}

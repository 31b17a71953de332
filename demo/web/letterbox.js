// Frame to model input and back, as perception/runtime/letterbox.py does it: scale to fit, centre,
// pad. Shrinking averages by area (OpenCV's INTER_AREA), so that thin lane lines stay visible.

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
    const inner = resize(rgba, this.frameHw, this.innerHw); // Float32 (h, w, 3) BGR
    for (let y = 0; y < innerH; y++) {
      const from = y * innerW * 3, to = ((y + this.top) * width + this.left) * 3;
      for (let i = 0; i < innerW * 3; i++) out[to + i] = inner[from + i] + 0.5;
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

/** RGBA bytes of `fromHw` to Float32 (h, w, 3) BGR: columns first, then rows. */
function resize(rgba, fromHw, toHw) {
  const shrinks = toHw[0] < fromHw[0];
  const [sourceH, sourceW] = fromHw, [height, width] = toHw;
  const columns = (shrinks ? areaTaps : linearTaps)(sourceW, width);
  const rows = (shrinks ? areaTaps : linearTaps)(sourceH, height);
  const out = new Float32Array(height * width * 3), line = new Float32Array(width * 3);
  let narrowed = -1; // which source row `line` holds
  for (let y = 0; y < height; y++) {
    const to = y * width * 3;
    for (let tap = rows.start[y]; tap < rows.start[y + 1]; tap++) {
      if (narrowed !== rows.index[tap]) {
        narrowed = rows.index[tap];
        narrow(rgba, narrowed * sourceW, columns, line);
      }
      const weight = rows.weight[tap];
      for (let i = 0; i < line.length; i++) out[to + i] += weight * line[i];
    }
  }
  return out;
}

function narrow(rgba, row, { start, index, weight }, line) {
  for (let x = 0, to = 0; x + 1 < start.length; x++, to += 3) {
    let blue = 0, green = 0, red = 0;
    for (let tap = start[x]; tap < start[x + 1]; tap++) {
      const at = (row + index[tap]) * 4, share = weight[tap];
      red += share * rgba[at];
      green += share * rgba[at + 1];
      blue += share * rgba[at + 2];
    }
    line[to] = blue;
    line[to + 1] = green;
    line[to + 2] = red;
  }
}

/** For each of `to` pixels: source pixels index[start[i]..start[i + 1]] and their weights, each
 *  weight being the share of the target pixel that the source pixel covers. */
function areaTaps(from, to) {
  const start = [0], index = [], weight = [], scale = from / to;
  for (let i = 0; i < to; i++) {
    const begin = i * scale, end = Math.min((i + 1) * scale, from);
    for (let s = Math.floor(begin); s < from && s < end - 1e-9; s++) {
      const share = (Math.min(s + 1, end) - Math.max(s, begin)) / (end - begin);
      if (share > 1e-6) index.push(s), weight.push(share);
    }
    start.push(index.length);
  }
  return { start, index, weight };
}

function linearTaps(from, to) {
  const start = [0], index = [], weight = [], scale = from / to;
  for (let i = 0; i < to; i++) {
    const centre = Math.min(Math.max((i + 0.5) * scale - 0.5, 0), from - 1);
    const low = Math.floor(centre), share = centre - low;
    index.push(low, Math.min(low + 1, from - 1));
    weight.push(1 - share, share);
    start.push(index.length);
  }
  return { start, index, weight };
}

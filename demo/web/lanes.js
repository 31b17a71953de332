// Lanes of a lane byte mask as smooth lines, each as wide as a marking: followed row by row from
// below, then fitted, as perception/runtime/lane_rows.py does.

// The lane byte: category in bits 0 to 2, then one bit each.
const CATEGORY = 7, OUTSIDE = 8, STYLE = 16, DIRECTION = 32;
const ROW_STEP = 2, SLOPE_POINTS = 8, MIN_POINTS = 6;
const MIN_ROWS = 0.03; // of the height
const MAX_RUN = 0.14; // of the width: a longer run is a marking across the road
const MAX_GAP = 0.12; // of the height
const HORIZON = 0.48; // of the height, where markings have no width
const WIDTH_PER_ROW = 0.1; // of a marking, per row below the horizon

/** Whether a value is a marking along the road. */
export const isAlong = (value, crosswalk) =>
  !(value & (OUTSIDE | DIRECTION)) && value < 64 && (value & CATEGORY) !== crosswalk;

/** {points: [x, y, width] from near to far in pixels of the mask, category, dashed} per marking. */
export function findLanes(values, [height, width], crosswalk) {
  const open = [], reach = Math.max(2.5, 0.006 * width);
  for (let y = height - 1; y > HORIZON * height; y -= ROW_STEP) {
    const runs = runsOf(values, y, width, crosswalk), pairs = [];
    open.forEach((line, j) => {
      const gap = line[line.length - 1].y - y;
      if (gap > MAX_GAP * height) return;
      const off = expected(line, y), far = reach + 0.4 * gap / ROW_STEP;
      runs.forEach(({ x }, i) => Math.abs(x - off) <= far && pairs.push([Math.abs(x - off) / far, i, j]));
    });
    const runTaken = new Set(), lineTaken = new Set();
    for (const [, i, j] of pairs.sort((a, b) => a[0] - b[0])) {
      if (runTaken.has(i) || lineTaken.has(j)) continue;
      runTaken.add(i), lineTaken.add(j);
      open[j].push(runs[i]);
    }
    runs.forEach((run, i) => runTaken.has(i) || open.push([run]));
  }
  return open.filter(line => line.length >= MIN_POINTS &&
    line[0].y - line[line.length - 1].y >= MIN_ROWS * height).map(line => smooth(line, height));
}

function runsOf(values, y, width, crosswalk) {
  const runs = [];
  for (let x = 0; x < width; x++) {
    const start = x;
    while (x < width && isAlong(values[y * width + x], crosswalk)) x++;
    if (x > start && x - start <= MAX_RUN * width)
      runs.push({ x: (start + x - 1) / 2, y, value: values[y * width + ((start + x - 1) >> 1)] });
  }
  return runs;
}

function expected(line, y) {
  const last = line[line.length - 1], first = line[Math.max(0, line.length - SLOPE_POINTS)];
  if (line.length < 4) return last.x;
  return last.x + (last.x - first.x) * (y - last.y) / (last.y - first.y);
}

function smooth(line, height) {
  const far = line[line.length - 1].y, span = Math.max(line[0].y - far, 1);
  const degree = Math.min(3, (line.length >> 3) + 1);
  const fit = polynomial(line.map(p => [(p.y - far) / span, p.x]), degree);
  const points = [];
  for (let k = 0; k <= 24; k++) {
    const t = 1 - k / 24, y = far + t * span;
    const x = fit.reduceRight((sum, factor) => sum * t + factor, 0);
    points.push([x + 0.5, y + 0.5, WIDTH_PER_ROW * Math.max(y - HORIZON * height, 0.02 * height)]);
  }
  const counts = new Map();
  for (const { value } of line) counts.set(value & CATEGORY, (counts.get(value & CATEGORY) ?? 0) + 1);
  const category = [...counts].sort((a, b) => b[1] - a[1])[0][0];
  return { points, category, dashed: line.filter(p => p.value & STYLE).length > line.length / 2 };
}

/** Least squares: factors of 1, t, t², …, from [t, x] pairs. */
function polynomial(pairs, degree) {
  const size = degree + 1;
  const rows = [...Array(size)].map((_, i) => [...Array(size + 1)].map((_, j) =>
    pairs.reduce((sum, [t, x]) => sum + (j < size ? t ** (i + j) : x * t ** i), 0)));
  rows.forEach((row, i) => { row[i] += 1e-9; });
  for (let i = 0; i < size; i++)
    for (let k = 0; k < size; k++) {
      if (k === i) continue;
      const share = rows[k][i] / rows[i][i];
      for (let j = i; j <= size; j++) rows[k][j] -= share * rows[i][j];
    }
  return rows.map((row, i) => row[size] / row[i]);
}

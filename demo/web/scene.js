// Decoded model outputs to frame coordinates. Works by kind of output and knows no task by name.

import { UserError } from "./description.js";

/** {name: output} of one frame. `raw` maps each output's name to its typed array. */
export function readScene(raw, description, box) {
  const outputs = {};
  for (const task of description.tasks) {
    const data = raw[task.name];
    if (data.length !== expectedLength(task, description, data.length))
      throw new UserError(`output ${task.name} of kind ${task.kind} has ${data.length} values; ` +
                          "export the model again with export-onnx");
    outputs[task.name] = READERS[task.kind](data, task, box);
  }
  return outputs;
}

function expectedLength(task, { sizeHw: [height, width] }, length) {
  const groups = task.groups?.length ?? 0;
  return {
    boxes: length - (length % 6), mask: height * width, map: height * width,
    normals: 3 * height * width, label: groups ? length - (length % groups) : 0,
  }[task.kind];
}

const READERS = {
  /** From (N, 6) x1 y1 x2 y2 score class, best first. Rows that are no box are dropped. */
  boxes(data, task, box) {
    const boxes = [];
    for (let at = 0; at + 6 <= data.length; at += 6) {
      const [x1, y1, x2, y2, score, index] = data.subarray(at, at + 6);
      const name = task.classes[Math.trunc(index)];
      if (![x1, y1, x2, y2, score].every(Number.isFinite) || !(index >= 0) || !name) continue;
      const xyxy = box.boxToFrame(x1, y1, x2, y2);
      if (xyxy[2] > xyxy[0] && xyxy[3] > xyxy[1]) boxes.push({ xyxy, score, name });
    }
    return { kind: task.kind, boxes };
  },

  /** Uint8 (h, w): the frame at the model's resolution, padding cropped away. */
  mask: (data, task, box) => ({ kind: task.kind, hw: box.innerHw, values: box.crop(data) }),

  map: (data, task, box) => ({ kind: task.kind, hw: box.innerHw, values: box.crop(data) }),

  /** Three planes (h, w): x, y, z of unit vectors. */
  normals(data, task, box) {
    const size = data.length / 3;
    const planes = [0, 1, 2].map(i => box.crop(data.subarray(i * size, (i + 1) * size)));
    return { kind: task.kind, hw: box.innerHw, planes };
  },

  /** Per group the most probable class. */
  label(data, task) {
    const wide = data.length / task.groups.length;
    const best = task.groups.map((group, row) => {
      const shares = group.classes.map((name, i) => ({ name, share: data[row * wide + i] }));
      return { group: group.name, ...shares.reduce((a, b) => (b.share > a.share ? b : a)) };
    });
    return { kind: task.kind, best };
  },
};

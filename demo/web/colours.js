// A colour per class name, [red, green, blue]. The table is colours.json, written from
// perception/runtime/colours.py; a name that is not in it gets the same derived colour as there.

const table = await fetch(new URL("./colours.json", import.meta.url))
  .then(answer => answer.json()).catch(() => ({}));
const known = new Map(Object.entries(table));

export function colour(name) {
  if (!known.has(name)) known.set(name, fromHue((crc32(name) % 360) / 360));
  return known.get(name);
}

export const css = ([red, green, blue], alpha = 1) => `rgb(${red} ${green} ${blue} / ${alpha})`;

/** Saturation 0.55, value 0.95. */
function fromHue(hue) {
  const channel = n => {
    const k = (n + hue * 6) % 6;
    return Math.floor(255 * 0.95 * (1 - 0.55 * Math.max(0, Math.min(k, 4 - k, 1))));
  };
  return [channel(5), channel(3), channel(1)];
}

function crc32(text) {
  let crc = ~0;
  for (const byte of new TextEncoder().encode(text)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

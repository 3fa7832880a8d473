// Colours of the points of the map: a class or a range of numbers each.

import { codeText, isMissing, short } from "./labels.mjs";

export const RAMP = ["#3b4cc0", "#2f8fc0", "#2aa58a", "#8ab04a", "#e0a100"];
export const GREY = "#a9aeb6";
const SHAPES = 3;

/** Five ranges with as many numbers each; none where there are fewer numbers. */
function rangesOf(column, rows) {
  const sorted = Array.from(column.values.slice(0, rows)).filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  if (sorted.length < RAMP.length) return [];
  const ends = RAMP.map((_, i) => sorted[Math.floor((sorted.length * (i + 1)) / RAMP.length) - 1]);
  ends[RAMP.length - 1] = sorted[sorted.length - 1];
  const lows = [sorted[0], ...ends.slice(0, -1)];
  return RAMP.map((colour, i) => ({
    name: `${short(lows[i])} to ${short(ends[i])}`, colour, shape: 0, low: i ? lows[i] : -Infinity, high: ends[i],
  }));
}

/** The most frequent classes, as many as colours and shapes tell apart; few levels of an order take a ramp. */
function classKeysOf(column, rows, palette) {
  const counts = new Map();
  for (const code of column.codes.slice(0, rows)) if (code >= 0) counts.set(code, (counts.get(code) || 0) + 1);
  const frequent = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a)).slice(0, palette.length * SHAPES - 1);
  const isRamp = column.kind === "levels" && column.labels.length <= RAMP.length;
  const step = (RAMP.length - 1) / Math.max(column.labels.length - 1, 1);
  return frequent.sort((a, b) => a - b).map((code, i) => ({
    name: codeText(column, code), code,
    colour: isRamp ? RAMP[Math.round(code * step)] : palette[i % palette.length],
    shape: isRamp ? 0 : Math.floor(i / palette.length) % SHAPES,
  }));
}

/** {of: the key of each row, -1 for grey; keys: of the legend; grey: whether any row is}. */
export function classesOf(column, rows, palette) {
  const of = new Int32Array(rows).fill(-1);
  const keys = column.values ? rangesOf(column, rows) : classKeysOf(column, rows, palette);
  const place = new Map(keys.map((key, i) => [key.code, i]));
  for (let row = 0; keys.length && row < rows; row++) {
    if (isMissing(column, row)) continue;
    if (column.values) of[row] = Math.max(0, keys.findIndex((key) => column.values[row] <= key.high));
    else if (place.has(column.codes[row])) of[row] = place.get(column.codes[row]);
  }
  return { of, keys, grey: of.some((key) => key < 0) };
}

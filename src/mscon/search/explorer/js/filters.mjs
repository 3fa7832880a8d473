// Which rows pass: filters by labels and numbers, words in any column, and a selection on the map.

import { isMissing, labelOf, short } from "./labels.mjs";

/** filter: {low, high, blank} of numbers, else {names, codes, blank}. */
export function passes(column, filter, row) {
  if (isMissing(column, row)) return filter.blank;
  if (column.values) return column.values[row] >= filter.low && column.values[row] <= filter.high;
  return filter.codes.has(column.codes[row]);
}

export const wordsOf = (text) => text.toLowerCase().split(/\s+/).filter((word) => word !== "");

/** All texts of a row, in lower case. */
export function textOf(data, row) {
  const cells = data.columns.map((column) => {
    if (isMissing(column, row)) return "";
    return column.values ? String(column.values[row]) : labelOf(column, row);
  });
  return [data.input === "image" ? data.names[row] : "", data.texts[row] || "", ...cells].join("\n").toLowerCase();
}

/** 1 for each row that passes all filters, holds all words and is selected; selected: null for all. */
export function maskOf(data, rows, { filters, words, selected }) {
  const mask = new Uint8Array(rows), chosen = [...filters];
  if (!data.haystacks) data.haystacks = [];
  for (let row = 0; row < rows; row++) {
    let through = selected === null || selected[row] === 1;
    for (let i = 0; through && i < chosen.length; i++) through = passes(chosen[i][0], chosen[i][1], row);
    if (through && words.length) {
      const text = data.haystacks[row] || (data.haystacks[row] = textOf(data, row));
      through = words.every((word) => text.includes(word));
    }
    mask[row] = through ? 1 : 0;
  }
  return mask;
}

export function filterText(column, filter) {
  if (column.values) {
    const [low, high] = [filter.low, filter.high].map((end) => (Number.isFinite(end) ? short(end) : ""));
    return low && high ? `${column.name} ${low} to ${high}` : low ? `${column.name} from ${low}` : `${column.name} up to ${high}`;
  }
  return `${column.name}: ${[...filter.names, ...(filter.blank ? ["no label"] : [])].join(" or ")}`;
}

// How cells agree, as the similarity of their column compares them in training.

import { isMissing, short, signed } from "./labels.mjs";

const NOTHING = { state: "none", mark: "", value: NaN, words: "" };
const UNKNOWN = { state: "unknown", mark: "?", value: NaN, words: "not known" };

/** What the query says in a column: the label that all its examples share; of numbers their mean. Else null. */
export function reference(column, like, middle) {
  if (middle && middle.column === column) {
    const codes = middle.option.codes;
    return { code: codes.size === 1 ? [...codes][0] : -1, codes, label: middle.option.name };
  }
  if (middle || like.length === 0 || column.texts) return null;
  if (column.values) {
    const known = like.map((row) => column.values[row]).filter((value) => !Number.isNaN(value));
    // Places that are on no line, such as hours of a day, have no middle.
    if (!known.length || !(column.line || known.every((value) => value === known[0]))) return null;
    return { value: column.line ? known.reduce((a, b) => a + b, 0) / known.length : known[0] };
  }
  const code = column.codes[like[0]];
  return code >= 0 && like.every((row) => column.codes[row] === code) ? { code } : null;
}

/** Sets by the labels that the similarity knows: shared labels over all labels, whether any, or whether all are shared. */
function weightOfSets({ sets, by }, one, other) {
  const labels = new Set(sets[one]), others = sets[other];
  if (!labels.size || !others.length) return NaN;
  const shared = others.filter((label) => labels.has(label)).length;
  if (by === "any") return shared > 0 ? 1 : 0;
  if (by === "all") return shared === labels.size && shared === others.length ? 1 : 0;
  return shared / (labels.size + others.length - shared);
}

/** Paths by the share of levels that they go together. Unknown where one ends before they part. */
function weightOfPaths({ levels, depth }, one, other) {
  let known = 0, together = 0;
  for (let level = 0; level < depth; level++) {
    const [first, second] = [levels[one * depth + level], levels[other * depth + level]];
    if (first < 0 || second < 0) break;
    known++;
    if (first === second) together++;
  }
  return known > 0 && (together < known || known === depth) ? together / depth : NaN;
}

/** The weight of two values of a column, from 0 to 1, NaN where unknown. Values are codes, or numbers. */
export function weightOf(column, one, other) {
  const alike = column.alike;
  if (!alike) return NaN;
  if (alike.equal) return one === other ? 1 : 0;
  if (alike.width !== undefined) return Math.exp(-(((one - other) / alike.width) ** 2) / 2);
  if (alike.sets) return weightOfSets(alike, one, other);
  if (alike.levels) return weightOfPaths(alike, one, other);
  const place = (value) => (column.values ? alike.places.get(value) : value);
  const step = alike.table[place(one) * alike.size + place(other)];
  return step === undefined || step === 255 ? NaN : step / 254;
}

/** The weight of a value and a reference. A row that carries the label of the query is the same. */
function weightTo(column, target, value) {
  if (!target.codes) return weightOf(column, column.values ? target.value : target.code, value);
  if (target.codes.has(value)) return 1;
  if (column.kind === "labels") return column.alike ? 0 : NaN;
  const known = [...target.codes].map((code) => weightOf(column, code, value)).filter((weight) => !Number.isNaN(weight));
  return known.length ? Math.max(...known) : NaN;
}

/**
 * How a row agrees with a reference: in words, as a mark, and as a weight.
 * limits: {same, different}, the weights from which on and below which it is called so.
 */
export function agreement(column, target, row, limits) {
  if (target === null || !column.alike) return NOTHING;
  if (isMissing(column, row)) return UNKNOWN;
  const value = column.values ? column.values[row] : column.codes[row];
  const weight = weightTo(column, target, value);
  if (Number.isNaN(weight)) return UNKNOWN;
  if (weight >= limits.same) return { state: "same", mark: "✓", value: weight, words: "the same" };
  const isPartly = weight >= limits.different;
  const words = isPartly ? `partly ${weight.toFixed(2)}` : "different", state = isPartly ? "part-way" : "other";
  if (!column.line) return { state, mark: isPartly ? "◐" : "✕", value: weight, words };
  const apart = value - (column.values ? target.value : target.code), steps = Math.abs(apart);
  const far = column.values ? `${signed(apart)} from the query` : `${steps} level${steps === 1 ? "" : "s"} apart`;
  return { state, mark: apart > 0 ? "↑" : "↓", value: weight, words: `${words}, ${far}` };
}

/** Why a label is suspicious: with how many neighbours it disagrees, or how much on average. */
export function doubtText(column, row) {
  const value = column.doubt[row], known = column.known[row];
  if (column.predicted) return `right: ${Math.round((1 - value) * 100)} %, predicted ${column.predicted[row]}`;
  if (column.alike && column.alike.equal) return `${Math.round(value * known)} of ${known} differ`;
  const far = Number.isNaN(column.apart[row]) ? "" : `, ${short(column.apart[row])} off`;
  return `${Math.round(value * 100)} %${far}`;
}

// The view as the part of the address behind #, and back.

import { optionNamed } from "./labels.mjs";
import { wordsFor } from "./moves.mjs";

export const EQUAL = 50, STEP = 24, MOST = 240, MOST_WEIGHT = 100;

/** A view to begin with. */
export function startOf(data) {
  return {
    like: [], unlike: [], middle: null, // middle of a label: {column, option}
    newRows: [], // {name, picture, words}, to be like; only a server takes them
    weights: new Map(), // of examples, by their row or the name of the new row; 1 of all others
    towards: [], // see moves.mjs
    mix: data.spaces.map(() => EQUAL),
    filters: new Map(), // column -> {names: Set, codes: Set, blank} or {low, high, blank}
    text: "",
    lasso: [], selected: null,
    order: "near", // "near", "mixed" or the name of a column as "doubt:name"
    count: STEP,
    name: data.name || "", // the column that rows are called by
    map: { space: 0, kind: data.maps[0] && data.maps[0].tsne ? "tsne" : "pca", colour: 0 },
  };
}

/** Columns by what can be done with them. */
export function columnsOf(data) {
  const coded = data.columns.filter((column) => column.kind !== "name");
  return {
    coloured: coded,
    filtered: coded,
    // The split is something to filter and colour by; that it is the same says nothing about likeness.
    compared: coded.filter((column) => !column.split),
    middles: coded.filter((column) => column.codes && !column.split),
    moved: coded.filter((column) => !column.split && column.space !== null),
    doubted: data.columns.filter((column) => column.doubt),
    names: data.columns.filter((column) => !column.split),
  };
}

export const ordersOf = (data) => ["near", "mixed", ...columnsOf(data).doubted.map((column) => `doubt:${column.name}`)];

export function toHash(state, data) {
  const words = new URLSearchParams(), start = startOf(data), { coloured } = columnsOf(data);
  const numbers = (rows) => rows.map((row) => data.ids[row]).join(".");
  const finite = (end) => (Number.isFinite(end) ? end : null);
  if (state.like.length) words.set("like", numbers(state.like));
  if (state.unlike.length) words.set("unlike", numbers(state.unlike));
  if (state.middle) words.set("middle", JSON.stringify([state.middle.column.name, state.middle.option.name]));
  const weights = [...state.like, ...state.unlike].filter((row) => state.weights.has(row)).map((row) => [data.ids[row], state.weights.get(row)]);
  if (weights.length) words.set("weights", JSON.stringify(weights));
  if (state.towards.length) {
    words.set("towards", JSON.stringify(state.towards.map((m) => [m.column.name, m.option ? [m.option.name] : m.to || m.near, m.amount])));
  }
  if (state.mix.some((weight) => weight !== EQUAL)) words.set("mix", state.mix.join("."));
  if (state.filters.size) {
    const filters = [...state.filters].map(([column, f]) => [
      column.name, column.values ? [finite(f.low), finite(f.high)] : [...f.names], f.blank,
    ]);
    words.set("only", JSON.stringify(filters));
  }
  for (const key of ["text", "order", "name"]) if (state[key] !== start[key]) words.set(key, state[key]);
  if (state.count !== STEP) words.set("show", String(state.count));
  if (JSON.stringify(start.map) !== JSON.stringify(state.map)) {
    const colour = coloured[state.map.colour];
    words.set("map", JSON.stringify([data.spaces[state.map.space], state.map.kind, colour ? colour.name : ""]));
  }
  if (state.lasso.length) words.set("lasso", state.lasso.map((point) => point.join("_")).join(".."));
  return words.toString();
}

/** Numbers of rows that a link names, in [0, 999,999,999]. */
export function idsIn(words, key) {
  const numbers = (words.get(key) || "").split(".").filter((word) => /^\d{1,9}$/.test(word)).map(Number);
  return [...new Set(numbers)].slice(0, 100);
}

function filterIn([, chosen, blank], column) {
  if (column.values) {
    const [low, high] = chosen.map((end) => (typeof end === "number" && Number.isFinite(end) ? end : null));
    if (low == null && high == null) return null;
    return { low: low ?? -Infinity, high: high ?? Infinity, blank: blank === true };
  }
  const names = chosen.filter((name) => typeof name === "string" && optionNamed(column, name));
  if (!names.length && blank !== true) return null;
  const codes = new Set(names.flatMap((name) => [...optionNamed(column, name).codes]));
  return { names: new Set(names), codes, blank: blank === true };
}

function moveIn([, target, amount], column) {
  const move = { column, amount };
  if (!(typeof amount === "number" && amount > 0 && amount <= 1)) return null;
  if (Array.isArray(target)) move.option = column.codes && optionNamed(column, target[0]);
  else if (wordsFor(column).includes(target) && target !== "near") move.to = target;
  else if (wordsFor(column).includes("near") && Number.isFinite(target)) move.near = target;
  return move.option || move.to || move.near !== undefined ? move : null;
}

/** A link is a stranger's: what is no row, column or label of this page is left out. The selection is not yet made. */
export function fromHash(text, data) {
  const state = startOf(data), words = new URLSearchParams(text), columns = columnsOf(data);
  const list = (key) => {
    try {
      const value = JSON.parse(words.get(key) || "null");
      return Array.isArray(value) ? value : [];
    } catch {
      return [];
    }
  };
  const named = (some, name) => some.find((column) => column.name === name);
  const rows = (key) => idsIn(words, key).filter((id) => data.rowOf.has(id)).map((id) => data.rowOf.get(id));
  state.like = rows("like");
  state.unlike = rows("unlike").filter((row) => !state.like.includes(row));
  const [middleColumn, middleLabel] = list("middle"), column = named(columns.middles, middleColumn);
  const option = column && !state.like.length && optionNamed(column, middleLabel);
  if (option) state.middle = { column, option };
  for (const [id, weight] of list("weights").filter(Array.isArray)) {
    if (data.rowOf.has(id) && typeof weight === "number" && weight > 0 && weight <= MOST_WEIGHT) state.weights.set(data.rowOf.get(id), weight);
  }
  for (const part of list("towards").filter(Array.isArray)) {
    const moved = named(columns.moved, part[0]), move = moved && moveIn(part, moved);
    if (move && !state.towards.some((other) => other.column === moved)) state.towards.push(move);
  }
  const mix = (words.get("mix") || "").split(".");
  if (mix.length === state.mix.length && mix.every((word) => /^\d{1,3}$/.test(word) && Number(word) <= 100)) state.mix = mix.map(Number);
  for (const part of list("only").slice(0, data.columns.length)) {
    if (!Array.isArray(part) || !Array.isArray(part[1])) continue;
    const filtered = named(columns.filtered, part[0]), filter = filtered && filterIn(part, filtered);
    if (filter) state.filters.set(filtered, filter);
  }
  state.text = (words.get("text") || "").slice(0, 200);
  if (ordersOf(data).includes(words.get("order"))) state.order = words.get("order");
  if (words.get("name") === "" || named(columns.names, words.get("name"))) state.name = words.get("name");
  const count = Number(words.get("show"));
  if (count > 0 && count <= MOST && count % STEP === 0) state.count = count;
  const [space, kind, colour] = list("map"), place = data.spaces.indexOf(space);
  if (place >= 0) state.map.space = place;
  if (named(columns.coloured, colour)) state.map.colour = columns.coloured.indexOf(named(columns.coloured, colour));
  if (kind !== undefined) state.map.kind = kind === "pca" || !data.maps[state.map.space].tsne ? "pca" : "tsne";
  const lasso = (words.get("lasso") || "").split("..").slice(0, 100).map((point) => point.split("_").map(Number));
  if (lasso.length > 2 && lasso.every((point) => point.length === 2 && point.every((value) => value >= -3 && value <= 3))) state.lasso = lasso;
  return state;
}

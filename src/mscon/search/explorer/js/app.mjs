// The view: what the page shows now, and what follows from it. Rows are numbers from 0; a link names them by their
// position in the run.

import { agreement, reference } from "./agreement.mjs";
import { readData } from "./data.mjs";
import { $, make } from "./dom.mjs";
import { maskOf, wordsOf } from "./filters.mjs";
import { counted, isMissing, labelOf } from "./labels.mjs";
import { columnsOf, startOf } from "./link.mjs";
import { targetOf } from "./moves.mjs";
import { LocalSource } from "./ranking.mjs";
import { RemoteSource } from "./remote.mjs";

const island = $("data");
export const data = readData(JSON.parse(island.textContent));
island.remove();

export const server = data.server, rows = data.rows, spaces = data.spaces;
export const columns = columnsOf(data);
// Rows without pictures are shown as the cells of the table.
export const isTable = !data.isPictured;
export const shownColumns = isTable ? columns.names.slice(0, 16) : columns.compared.slice(0, 8);
export const columnNamed = (name) => data.columns.find((column) => column.name === name);

export const app = {
  state: startOf(data),
  query: { like: [], unlike: [], weights: new Map(), towards: [], isMiddle: false },
  references: [], // of each column what the query says in it
  mask: new Uint8Array(rows).fill(1), // rows of the map that pass
  passing: rows, // how many rows pass, of all that there are
  hits: { rows: [], scores: null, parts: null },
};

export const source = server ? new RemoteSource(data, () => app.state) : new LocalSource(data.vectors, rows, data.dim);

export const hasExamples = () => app.query.like.length + app.query.unlike.length + app.state.newRows.length > 0;
export const hasQuery = () => hasExamples() || app.state.middle !== null;
export const isRanked = () => app.state.order === "near" && hasQuery();
export const doubtedColumn = () => (app.state.order.startsWith("doubt:") ? columnNamed(app.state.order.slice(6)) || null : null);
export const isExample = (row) => app.state.like.includes(row) || app.state.unlike.includes(row);
export const agreementOf = (column, row) => agreement(column, app.references[data.columns.indexOf(column)], row, data.words);

/** What a row is called: its cell in the chosen column, the file of its image, or its line. */
export function nameOf(row) {
  const column = columnNamed(app.state.name);
  if (column && !isMissing(column, row)) return labelOf(column, row);
  return data.names[row] || `line ${data.lines[row]}`;
}

export function describe(row) {
  return [nameOf(row), ...columns.compared.slice(0, 8).map((column) => `${column.name} ${labelOf(column, row)}`)].join(", ");
}

export function picture(row) {
  if (isTable) {
    const words = make("span", "words");
    words.append(make("strong", "", nameOf(row)), make("span", "", data.texts[row] || ""));
    return words;
  }
  const image = new Image();
  if (server) {
    image.loading = "lazy";
    image.addEventListener("error", () => (image.alt = "no picture that can be read"));
  }
  image.src = server ? `thumbnail/${data.ids[row]}` : data.pictures[row];
  image.alt = "";
  image.draggable = false;
  return image;
}

/** What the query is, and which rows pass, by the view. */
export function queryChanged() {
  const { state } = app;
  const towards = server ? state.towards : state.towards.map((move) => ({ ...targetOf(move, rows), space: move.column.space, amount: move.amount }));
  if (state.middle && !server) {
    const { column, option } = state.middle, like = [];
    for (let row = 0; row < rows; row++) if (option.codes.has(column.codes[row])) like.push(row);
    app.query = { like, unlike: state.unlike, weights: new Map([...state.weights].filter(([row]) => state.unlike.includes(row))), towards, isMiddle: true };
  } else {
    app.query = { like: state.like, unlike: state.unlike, weights: state.weights, towards, isMiddle: false };
  }
  app.references = data.columns.map((column) => {
    const move = state.towards.find((one) => one.column === column && !one.to);
    if (move) return move.option ? reference(column, [], move) : { value: move.near };
    // A new row has no labels to agree with.
    return state.newRows.length ? null : reference(column, state.like, state.middle);
  });
  app.mask = maskOf(data, rows, { ...state, words: wordsOf(state.text) });
  app.passing = app.mask.reduce((sum, one) => sum + one, 0);
  // Rows that are examples are no answers; of the middle of a label all rows may be.
  if (state.order === "near") for (const row of [...state.like, ...state.unlike]) if (row < rows) app.mask[row] = 0;
}

const listeners = [];
/** Called after each change of the view, in the order of these calls. */
export const onChange = (listener) => listeners.push(listener);

export function refresh() {
  queryChanged();
  listeners.forEach((listener) => listener());
}

/** Change the view. A new example is something to be near to. */
export function change(values) {
  const isQuery = values.order === undefined && (values.like || values.unlike);
  Object.assign(app.state, values, isQuery ? { order: "near" } : {});
  refresh();
}

export function takeAsQuery(row) {
  change({ like: [row], unlike: [], middle: null, newRows: [], order: "near" });
}

export function addExample(row, sign) {
  const { state } = app, other = sign === "like" ? "unlike" : "like";
  if (state[sign].includes(row)) return;
  const middle = sign === "like" ? null : state.middle;
  change({ [sign]: [...state[sign], row], [other]: state[other].filter((one) => one !== row), middle });
}

export const rowsText = (number) => counted(number, "row");

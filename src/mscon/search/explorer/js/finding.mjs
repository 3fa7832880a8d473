// Above the results: words in any column, a line of the table, what rows are called, and the rows as a CSV file.

import { app, change, columnNamed, columns, data, doubtedColumn, isRanked, nameOf, onChange, server, source, spaces, takeAsQuery } from "./app.mjs";
import { csvText } from "./csv.mjs";
import { $, makeOption } from "./dom.mjs";
import { isMissing, labelOf } from "./labels.mjs";
import { passingRows } from "./results.mjs";

let typing = 0;
$("words").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => change({ text: $("words").value }), 150);
});
onChange(() => {
  if (document.activeElement !== $("words")) $("words").value = app.state.text;
});

/** The row of a line of the table; a server is asked for one that this page does not know. */
async function rowAtLine(line) {
  const row = Array.from(data.lines).indexOf(line);
  if (row >= 0 || !server) return row;
  const { rows } = await source.learn({ lines: [line] });
  return rows.length ? rows[0] : -1;
}

$("jump").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("line").value, line = Number(text), row = text !== "" && Number.isInteger(line) ? await rowAtLine(line) : -1;
  const hint = server || data.rows === data.total ? "" : " It may be a row that is not on this page, which holds a sample.";
  $("jump-note").textContent = $("status").textContent = row >= 0 ? "" : `No row of this page stands on line ${text || "…"} of the table.${hint}`;
  if (row >= 0) takeAsQuery(row);
});

$("name-column").append(
  makeOption("", data.input === "image" ? "file" : "line"),
  ...columns.names.map((column) => makeOption(column.name, column.name)),
);
$("name-column").addEventListener("change", () => change({ name: $("name-column").value }));
onChange(() => ($("name-column").value = app.state.name));

// CSV ----------------------------------------------------------------------------------------------

const cellOf = (column, row) => (isMissing(column, row) ? null : column.values ? column.values[row] : labelOf(column, row));

/** The rows that are listed: the nearest as shown, else all of this page that pass. */
function listedTable() {
  const column = doubtedColumn(), isNear = isRanked() && app.hits.scores !== null;
  const rows = isNear ? app.hits.rows.slice(0, app.state.count) : passingRows();
  const scores = isNear ? ["score", ...spaces.map((name) => `score in ${name}`)] : [];
  const doubts = column ? [`doubt of ${column.name}`] : [];
  const header = ["line", "name", ...scores, ...doubts, ...data.columns.map((one) => one.name)];
  const lines = rows.map((row, i) => [
    data.lines[row],
    nameOf(row),
    ...(isNear ? [app.hits.scores[i], ...app.hits.parts.map((part) => part[i])].map((score) => score.toFixed(4)) : []),
    ...(column ? [column.doubt[row].toFixed(4)] : []),
    ...data.columns.map((one) => cellOf(one, row)),
  ]);
  return [header, ...lines];
}

$("save").addEventListener("click", () => {
  const lines = listedTable(), link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csvText(lines)], { type: "text/csv" }));
  link.download = "rows.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  $("status").textContent = `${lines.length - 1} rows saved as rows.csv.`;
});

// A new text, vector or row of cells as the query, of a page that is served.

import { app, change, data, server } from "./app.mjs";
import { $, make } from "./dom.mjs";
import { post } from "./remote.mjs";

const MOST_LETTERS = 60;
const HINTS = { text: "A new text", vectors: "Numbers of a new vector: 0.1, -2, 0.5" };

function fieldOf(name, kind = "input") {
  const label = make("label", "", name), field = make(kind);
  label.append(field);
  $("enter-fields").append(label);
  return field;
}

/** The new row as JSON, in words, and what is wrong with it. */
function entered(fields) {
  if (data.input === "columns") {
    const cells = fields.map(([name, field]) => [name, field.value.trim() || null]);
    return { row: Object.fromEntries(cells), words: cells.map(([name, cell]) => `${name} ${cell ?? "–"}`).join(", "), fault: "" };
  }
  const text = fields[0][1].value.trim();
  if (data.input === "text") return { row: text, words: text, fault: text ? "" : "There is no text yet." };
  const words = text.replace(/^\[|\]$/g, "").split(/[\s,;]+/).filter((word) => word !== "");
  const broken = words.find((word) => !Number.isFinite(Number(word)));
  return { row: words.map(Number), words: `vector ${words.slice(0, 4).join(", ")} …`, fault: broken ? `“${broken}” is no number.` : "" };
}

export function acceptRows() {
  const names = data.input === "columns" ? server.inputs : [HINTS[data.input]];
  const fields = names.map((name) => [name, fieldOf(name, data.input === "columns" ? "input" : "textarea")]);
  $("enter").addEventListener("submit", async (event) => {
    event.preventDefault();
    const isAdded = event.submitter && event.submitter.id === "enter-add", { row, words, fault } = entered(fields);
    const say = (text) => ($("status").textContent = $("enter-note").textContent = text);
    say(fault || "Encoding …");
    if (fault) return;
    const answer = await post("encode", JSON.stringify({ row }));
    say(answer.message || answer.notes.join(" "));
    if (answer.message !== undefined) return;
    const one = { name: answer.new, picture: null, words: words.length > MOST_LETTERS ? `${words.slice(0, MOST_LETTERS)}…` : words };
    if (isAdded) change({ newRows: [...app.state.newRows, one].slice(-server.new), middle: null, order: "near" });
    else change({ newRows: [one], like: [], unlike: [], middle: null, order: "near" });
  });
}

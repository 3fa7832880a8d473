// In the left column: what the query moves towards, and how far.

import { app, change, columnNamed, columns, data, onChange, server } from "./app.mjs";
import { $, make, makeButton, makeOption } from "./dom.mjs";
import { optionNamed, optionsOf } from "./labels.mjs";
import { moveText, RELATIVE, targetOf, wordsFor } from "./moves.mjs";

const MOST_TARGETS = 300;
const WORDS = { higher: "higher values", lower: "lower values", near: "a number …" };

const column = () => columnNamed($("move-column").value);

/** What the column can move towards: words begin with a colon, which tells them from labels. */
function drawTargets() {
  const options = column().codes ? optionsOf(column()).slice(0, MOST_TARGETS) : [];
  const words = wordsFor(column()).map((word) => makeOption(`:${word}`, WORDS[word]));
  $("move-target").replaceChildren(...words, ...options.map(({ name }) => makeOption(`=${name}`, name)));
  drawTarget();
}

/** Half the way to higher values, which have no end; all the way to a label. */
function drawTarget() {
  const target = $("move-target").value;
  $("move-number").hidden = target !== ":near";
  $("move-amount").value = RELATIVE.includes(target.slice(1)) && target[0] === ":" ? 50 : 100;
  drawAmount();
}
const drawAmount = () => ($("move-percent").value = `${$("move-amount").value} %`);

function add() {
  const target = $("move-target").value, word = target.slice(1), move = { column: column(), amount: Number($("move-amount").value) / 100 };
  if (target[0] === "=") move.option = optionNamed(column(), word);
  else if (word === "near") move.near = $("move-number").value === "" ? NaN : Number($("move-number").value);
  else move.to = word;
  // A page that is served holds some of the rows only; its server knows whether there are any.
  const isNowhere = Number.isNaN(move.near) || (!server && !targetOf(move, data.rows).weights.some((weight) => weight !== 0));
  $("move-note").textContent = isNowhere ? "No row is there. Choose another target." : "";
  if (!isNowhere) change({ towards: [...app.state.towards.filter((other) => other.column !== move.column), move] });
}

export function offerMoves() {
  $("moving").hidden = columns.moved.length === 0;
  if ($("moving").hidden) return;
  $("move-column").append(...columns.moved.map(({ name }) => makeOption(name, name)));
  $("move-column").addEventListener("change", drawTargets);
  $("move-target").addEventListener("change", drawTarget);
  $("move-amount").addEventListener("input", drawAmount);
  $("move").addEventListener("click", add);
  drawTargets();
  onChange(() => {
    $("moves").replaceChildren(...app.state.towards.map((move) => {
      const item = make("li"), text = `${moveText(move)}, ${Math.round(100 * move.amount)} %`;
      const button = makeButton("", `${text} ✕`, () => change({ towards: app.state.towards.filter((other) => other !== move) }));
      button.setAttribute("aria-label", `Take out the move towards ${text}`);
      item.append(button);
      return item;
    }));
  });
}

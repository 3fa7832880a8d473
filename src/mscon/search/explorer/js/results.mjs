// The middle column: the rows, their scores and how their labels agree with the query.

import { addExample, agreementOf, app, change, columns, data, describe, doubtedColumn, hasQuery, isRanked, isTable, nameOf, onChange, picture, rows, rowsText, server, shownColumns, source, spaces, takeAsQuery } from "./app.mjs";
import { doubtText } from "./agreement.mjs";
import { $, make, makeButton, makeOption, write } from "./dom.mjs";
import { exampleSign, stepTo } from "./keys.mjs";
import { isMissing, labelOf } from "./labels.mjs";
import { MOST, STEP } from "./link.mjs";
import { drawOverlay } from "./map.mjs";
import { mixedOrder, top } from "./ranking.mjs";
import { viewRested } from "./main.mjs";

const FIRST = 10;
const cards = [];
const view = { request: 0, used: 0, current: 0 };
const freeSpaces = spaces.map((_, c) => c).filter((c) => !shownColumns.some((column) => column.space === c));
const order = mixedOrder(rows);

// Pictures that were shown once are kept: a decoded one is put back at once.
const pictures = new Map();
function cachedPicture(row) {
  if (isTable) return picture(row);
  let image = pictures.get(row);
  if (!image) {
    if (pictures.size > 4000) for (const [old, node] of pictures) if (!node.isConnected) pictures.delete(old);
    pictures.set(row, (image = picture(row)));
  }
  return image;
}

// Cards ------------------------------------------------------------------------------------------

/** A line of a card: a column and its cell, how it agrees, and the score in a space. */
function makeFact(column, space) {
  const fact = make("span", "fact none"), mark = make("span", "mark"), cell = make("span", "cell"), label = make("span", "label"), part = make("span", "part");
  const markText = new Text(), labelText = new Text(), partText = new Text();
  mark.append(markText);
  label.append(labelText);
  cell.append(make("span", "key", column ? column.name : spaces[space]), label);
  fact.append(mark, cell);
  let bar = null;
  if (space !== null) {
    bar = make("i");
    part.append(bar, partText);
    fact.append(part);
  }
  return { column, space, fact, markText, labelText, partText, bar, name: "" };
}

function cardAt(i) {
  if (cards[i]) return cards[i];
  const item = make("li", "card"), take = makeButton("take"), frame = make("span", "frame"), signs = make("span", "signs");
  const line = make("span", "score"), score = new Text(), name = make("small"), nameText = new Text();
  const facts = [...shownColumns.map((column) => makeFact(column, column.space ?? null)), ...freeSpaces.map((space) => makeFact(null, space))];
  name.append(nameText);
  line.append(...(isTable ? [name, score] : [score, name]));
  take.append(...(isTable ? [line, frame] : [frame, line]), ...facts.map(({ fact }) => fact));
  item.append(take, signs);
  const card = { item, take, frame, score, nameText, facts, row: -1, picture: null, label: "" };
  for (const [sign, letter, words] of [["like", "+", "One more example like this (+)"], ["unlike", "−", "An example unlike this (−)"]]) {
    const button = makeButton("", letter, () => addExample(card.row, sign));
    button.tabIndex = -1;
    button.title = words;
    button.setAttribute("aria-label", words);
    signs.append(button);
  }
  take.addEventListener("click", (event) => {
    if (event.shiftKey) addExample(card.row, "like");
    else if (event.altKey) addExample(card.row, "unlike");
    else takeAsQuery(card.row);
  });
  cards.push(card);
  return card;
}

function fillFrame(card, row) {
  card.row = row;
  if (isTable) {
    card.frame.textContent = data.texts[row] || "";
    card.frame.hidden = !data.texts[row];
    return;
  }
  const image = cachedPicture(row);
  if (image !== card.picture) card.frame.replaceChildren((card.picture = image));
}

/** The words of a fact, for who does not see the card. */
function fillFact(fact, row, part) {
  let state = "none", mark = "", words = "";
  if (fact.column) {
    const label = labelOf(fact.column, row), agrees = agreementOf(fact.column, row);
    state = isMissing(fact.column, row) ? "unknown" : agrees.state;
    mark = agrees.mark;
    write(fact.labelText, label);
    words = `${fact.column.name} ${label}${agrees.words ? `, ${agrees.words}` : ""}`;
    // The name of the row stands above all cells.
    const isName = isTable && fact.column.name === app.state.name;
    if (fact.fact.hidden !== isName) fact.fact.hidden = isName;
    if (fact.row !== row) fact.fact.title = `${fact.column.name}: ${label}`;
    fact.row = row;
  }
  write(fact.markText, mark);
  let name = `fact ${state}${fact.column ? "" : " free"}`;
  if (fact.bar) {
    const value = part ? part(fact.space) : 0, length = Math.max(0, value);
    write(fact.partText, part ? value.toFixed(2) : "");
    if (fact.length !== length) fact.bar.style.transform = `scaleX(${(fact.length = length).toFixed(3)})`;
    if (part && app.state.mix[fact.space] === 0) name += " idle";
  }
  if (fact.name !== name) fact.fact.className = fact.name = name;
  return words;
}

/** What each similarity adds to the score. */
function sumText(part) {
  const { mix } = app.state, total = mix.reduce((sum, weight) => sum + weight, 0);
  return spaces.map((name, c) => (mix[c] ? `${(mix[c] / total * part(c)).toFixed(2)} by ${name}` : "")).filter(Boolean).join(" + ");
}

function fill(card, row, score, part, place) {
  if (card.row !== row) fillFrame(card, row);
  const called = nameOf(row);
  write(card.nameText, isTable || app.state.name ? called : "");
  const title = part ? `${called}\n${score} = ${sumText(part)}` : called;
  if (card.take.title !== title) card.take.title = title;
  write(card.score, score);
  const words = card.facts.map((fact) => fillFact(fact, row, part)).filter((text) => text !== "");
  const label = `${place + 1}: ${score ? `${score}, ` : ""}${words.join("; ")}; ${called}`;
  if (card.label !== label) card.take.setAttribute("aria-label", (card.label = label));
}

// Which rows ---------------------------------------------------------------------------------------

/** All rows of the page that pass, the most suspicious first or in the order of the table. */
export function passingRows() {
  const column = doubtedColumn();
  if (!column) return Array.from(app.mask.keys()).filter((row) => app.mask[row]);
  const known = app.mask.map((through, row) => (through && column.doubt[row] >= 0 ? 1 : 0));
  return top(column.doubt, known, rows);
}

/** Find the rows to show, and show them. */
export function rank() {
  const request = ++view.request, { state, query, mask } = app;
  const later = (answer) => answer && request === view.request && show(answer);
  if (isRanked()) {
    const hits = source.rank({ query, weights: state.mix, mask, count: Math.max(state.count, FIRST) });
    if (hits instanceof Promise) hits.then(later);
    else show(hits);
  } else if (doubtedColumn()) {
    show({ rows: passingRows().slice(0, state.count), scores: null, parts: null });
  } else if (server) {
    source.browse(state.count).then(later);
  } else {
    show({ rows: order.filter((row) => mask[row]).slice(0, state.count), scores: null, parts: null });
  }
}

function show(hits) {
  app.hits = hits;
  if (hits.passing !== undefined) app.passing = hits.passing;
  const column = doubtedColumn(), grid = $("grid"), count = Math.min(hits.rows.length, app.state.count);
  for (let i = 0; i < count; i++) {
    const row = hits.rows[i], card = cardAt(i);
    const score = hits.scores ? hits.scores[i].toFixed(2) : column ? doubtText(column, row) : "";
    fill(card, row, score, hits.parts ? (c) => hits.parts[c][i] : null, i);
    if (i >= view.used) grid.append(card.item);
  }
  for (let i = count; i < view.used; i++) cards[i].item.remove();
  view.used = count;
  view.current = Math.min(view.current, Math.max(count - 1, 0));
  for (let i = 0; i < count; i++) {
    const index = i === view.current ? 0 : -1;
    if (cards[i].take.tabIndex !== index) cards[i].take.tabIndex = index;
  }
  for (const [name, isOn] of [["scored", Boolean(hits.parts)], ["bare", !hits.scores && !column && !isTable && !app.state.name]]) {
    if (grid.classList.contains(name) !== isOn) grid.classList.toggle(name);
  }
  drawHead(count);
  drawAgreement();
  drawOverlay();
  viewRested();
}

// The head ---------------------------------------------------------------------------------------

function headline(count) {
  if (app.hits.message) return "No answer";
  if (isRanked()) return `Nearest of ${rowsText(app.passing)}`;
  const column = doubtedColumn();
  return column ? `Suspicious labels first: ${column.name}` : count ? rowsText(app.passing) : "No row";
}

function explanation(column) {
  if (column.predicted) {
    return "How probably the label of each row is right, and what is predicted instead, as mscon doubt judged it: by models and neighbours that did not learn from this label, and by the other columns.";
  }
  const far = column.values && column.line ? ", and how far their numbers are off" : "";
  const what = column.alike && column.alike.equal
    ? "with another label"
    : `how little its label agrees with theirs on average, 0 % where all are the same${far}`;
  return `Of the ${data.nearest} rows nearest in the space of ${column.name}, itself and those without a label left out: ${what}. ` +
    "A high one is a reason to look, no proof. The space learnt from these labels, so wrong ones of training rows can look right here: filter by split to see rows it never learnt from.";
}

function drawHead(count) {
  const title = headline(count), column = doubtedColumn(), empty = $("empty"), explained = $("explained");
  if ($("grid-title").textContent !== title) $("grid-title").textContent = title;
  write(explained.firstChild || explained.appendChild(new Text()), column ? explanation(column) : "");
  empty.hidden = count > 0;
  if (!count) {
    const isUnmixed = isRanked() && app.state.mix.every((weight) => weight === 0);
    empty.textContent = app.hits.message || (isUnmixed
      ? "All sliders are at 0, so nothing says what alike means. Move one up."
      : "No row passes: take out a filter or a word, or drop the selection of the map.");
  }
  $("more").hidden = count < app.state.count || count >= app.passing || app.state.count >= MOST;
}

// How the nearest agree, beside what any rows would do ---------------------------------------------

const gauges = new Map();
let chances = new Map();
onChange(() => (chances = new Map()));

/** {sum, known}: of some rows how many agree, of how many it is known. */
function agreeing(column, some) {
  let sum = 0, known = 0;
  for (const row of some) {
    const { value } = agreementOf(column, row);
    if (!Number.isNaN(value)) [sum, known] = [sum + value, known + 1];
  }
  return { sum, known };
}

function chanceOf(column) {
  if (!chances.has(column)) {
    const { sum, known } = agreeing(column, Array(rows).keys());
    chances.set(column, known ? sum / known : NaN);
  }
  return chances.get(column);
}

function gaugeOf(column) {
  if (!gauges.has(column)) {
    const item = make("li"), name = make("span", "name", column.name), count = make("span", "count"), bar = make("span", "gauge");
    const gauge = { item, text: new Text(), fill: make("i"), tick: make("u"), bar };
    name.title = column.name;
    count.append(gauge.text);
    bar.append(gauge.fill, gauge.tick);
    item.append(name, count, bar);
    item.setAttribute("data-column", column.name);
    $("agreement").append(item);
    gauges.set(column, gauge);
  }
  return gauges.get(column);
}

function drawAgreement() {
  const near = isRanked() && app.hits.rows.length > 0, first = app.hits.rows.slice(0, FIRST);
  $("agreement").hidden = $("agreement-note").hidden = !near;
  for (const column of near ? columns.compared : []) {
    const gauge = gaugeOf(column);
    gauge.item.hidden = app.references[data.columns.indexOf(column)] === null || !column.alike;
    if (gauge.item.hidden) continue;
    const { sum, known } = agreeing(column, first), usual = chanceOf(column);
    const text = known ? `${Number.isInteger(sum) ? sum : sum.toFixed(1)} of ${known}` : "not known";
    write(gauge.text, text);
    gauge.bar.hidden = !known;
    gauge.fill.style.transform = `scaleX(${known ? (sum / known).toFixed(3) : 0})`;
    gauge.tick.style.left = `${(100 * usual).toFixed(1)}%`;
    const title = `${column.name}: of the ${first.length} nearest ${text} agree; of all rows ${Math.round(100 * usual)} %`;
    if (gauge.title !== title) gauge.item.title = gauge.title = title;
  }
}

/** What the results are, for who does not see them. */
export function spokenResults() {
  const count = view.used, first = Math.min(FIRST, count);
  const gauged = [...gauges].filter(([, gauge]) => !$("agreement").hidden && !gauge.item.hidden);
  const agree = gauged.map(([column, gauge]) => `${column.name} ${gauge.text.data}`).join("; ");
  return [`${$("grid-title").textContent}, ${count} shown.`, agree && `Of the ${first} nearest: ${agree}.`, !count && $("empty").textContent]
    .filter(Boolean).join(" ");
}

// Keys and buttons ---------------------------------------------------------------------------------

function moveTo(i) {
  cards[view.current].take.tabIndex = -1;
  cards[i].take.tabIndex = 0;
  cards[i].take.focus();
  view.current = i;
}

$("grid").addEventListener("keydown", (event) => {
  const at = cards.findIndex((card) => card.take === document.activeElement);
  if (at < 0 || event.ctrlKey || event.metaKey) return;
  const sign = exampleSign(event.key), first = cards[0].item.offsetTop;
  const across = cards.slice(0, view.used).filter((card) => card.item.offsetTop === first).length;
  const to = stepTo(event.key, at, view.used, across);
  if (sign) addExample(cards[at].row, sign);
  else if (to >= 0) moveTo(to);
  else return;
  event.preventDefault();
});

$("grid").classList.toggle("table", isTable);
$("order").append(
  makeOption("near", "nearest to the query"),
  makeOption("mixed", "shuffled"),
  ...columns.doubted.map((column) => makeOption(`doubt:${column.name}`, `suspicious ${column.name} first`)),
);
$("order").addEventListener("change", () => change({ order: $("order").value }));
$("more").addEventListener("click", () => {
  const at = view.used;
  change({ count: Math.min(app.state.count + STEP, MOST) });
  if (view.used > at) moveTo(at);
});
onChange(() => ($("order").value = app.state.order));
onChange(rank);

export function toFirst() {
  view.current = 0;
}

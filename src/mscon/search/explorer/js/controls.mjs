// The left column: the query, the mix, the mean of a label, and filters.

import { app, change, columnNamed, columns, data, describe, hasExamples, hasQuery, onChange, picture, rowsText, server, spaces } from "./app.mjs";
import { $, make, makeButton, makeOption } from "./dom.mjs";
import { filterText } from "./filters.mjs";
import { codeText, isMissing, optionNamed, optionsOf, short } from "./labels.mjs";
import { EQUAL, MOST_WEIGHT } from "./link.mjs";
import { rank } from "./results.mjs";

const MOST_OPTIONS = 300;

// The query ------------------------------------------------------------------------------------

/** How much an example counts, where there is another one. */
function weightInput(key, label) {
  const box = make("label", "weight", "× "), input = make("input"), { weights } = app.state;
  Object.assign(input, { type: "number", min: 0.1, max: MOST_WEIGHT, step: 0.1, value: weights.get(key) ?? 1, title: "Weight" });
  input.dataset.key = key;
  input.setAttribute("aria-label", `Weight of ${label}`);
  input.addEventListener("change", () => {
    const weight = Number(input.value);
    if (weight === 1) weights.delete(key);
    else if (weight > 0 && weight <= MOST_WEIGHT) weights.set(key, weight);
    change({ order: "near" });
  });
  box.append(input);
  return box;
}

function exampleItem(shown, sign, isOnly, label, key, drop) {
  const item = make("li"), button = makeButton(`example ${sign}${isOnly ? " only" : ""}`, undefined, drop);
  button.append(shown, make("b", "", sign === "like" ? "+" : "−"));
  button.setAttribute("aria-label", `Take out ${label}`);
  button.title = "Take out";
  item.append(button);
  if (!isOnly) item.append(weightInput(key, label));
  return item;
}

function newPicture(image) {
  if (image.picture === null) return make("span", "words", image.words);
  const node = new Image();
  node.src = image.picture;
  node.alt = "";
  return node;
}

/** What the query says in each column. */
function knownFacts() {
  const facts = make("dl", "known");
  for (const column of columns.compared) {
    const known = app.references[data.columns.indexOf(column)];
    let text = "no label";
    if (known) text = column.values ? short(known.value) : known.label ?? codeText(column, known.code);
    else if (app.state.like.length > 1 && app.state.like.some((row) => !isMissing(column, row))) text = "the examples differ";
    facts.append(make("dt", "", column.name), make("dd", "", text));
  }
  return facts;
}

function drawQuery() {
  const { state } = app, box = $("query"), hadFocus = box.contains(document.activeElement), { key } = document.activeElement.dataset;
  box.replaceChildren();
  $("query-title").textContent = state.middle ? "Query: mean of a label" : "Query";
  if (!hasQuery()) {
    const what = data.isPictured ? "a picture" : "a row", words = server && server.uploads ? ", drop or paste one of your own," : ",";
    box.append(make("p", "note", `Click ${what} to see what is like it${words} or search for the mean of a label.`));
  }
  if (state.middle) {
    const { column, option } = state.middle, list = make("ul", "chips"), item = make("li");
    const chip = makeButton("small", `${column.name}: ${option.name} ✕`, () => change({ middle: null }));
    chip.setAttribute("aria-label", `Drop the query: the mean of ${rowsText(option.count)} with ${column.name} ${option.name}`);
    item.append(chip);
    list.append(item);
    box.append(list, make("p", "note", `The mean of ${rowsText(option.count)}.`));
  }
  const list = make("ul", "examples"), isOnly = state.like.length + state.unlike.length + state.newRows.length + (state.middle ? 1 : 0) === 1;
  for (const one of state.newRows) {
    const label = `this example to be like: ${one.picture === null ? "" : "the new image "}${one.words}`;
    list.append(exampleItem(newPicture(one), "like", isOnly, label, one.name, () => change({ newRows: state.newRows.filter((other) => other !== one) })));
  }
  for (const sign of ["like", "unlike"]) {
    for (const row of state[sign]) {
      const label = `this example ${sign === "like" ? "to be like" : "to be unlike"}: ${describe(row)}`;
      list.append(exampleItem(picture(row), sign, isOnly, label, row, () => change({ [sign]: state[sign].filter((other) => other !== row) })));
    }
  }
  if (list.children.length) box.append(list);
  const images = state.newRows.filter((one) => one.picture !== null).map((one) => one.words);
  if (state.newRows.length) box.append(make("p", "note", `${images.length ? `${images.join(", ")}: as the encoder sees it. ` : ""}No link can keep a new row.`));
  if (hasExamples() && state.like.length && !state.middle && !state.newRows.length) box.append(knownFacts());
  const input = key && [...box.querySelectorAll(".weight input")].find((one) => one.dataset.key === key);
  if (hadFocus) (input || box.querySelector("button") || $("grid-title")).focus();
}
onChange(drawQuery);

// The mix ----------------------------------------------------------------------------------------

const sliders = spaces.map((name, c) => {
  const box = make("div", "slider"), label = make("label", "", name), value = make("output"), input = make("input");
  const only = makeButton("", "only", () => change({ mix: spaces.map((_, other) => (other === c ? 100 : 0)) }));
  Object.assign(input, { type: "range", min: 0, max: 100, step: 1, id: `mix-${c}` });
  label.htmlFor = value.htmlFor = input.id;
  label.title = name;
  only.setAttribute("aria-label", `Only ${name}`);
  input.addEventListener("input", () => {
    app.state.mix[c] = Number(input.value);
    value.value = input.value;
    if (app.state.order !== "near" && hasQuery()) change({ order: "near" });
    else rank();
  });
  box.append(label, value, only, input);
  $("mix").append(box);
  return { input, value };
});
$("equal").addEventListener("click", () => change({ mix: spaces.map(() => EQUAL) }));
onChange(() => sliders.forEach(({ input, value }, c) => (input.value = value.value = String(app.state.mix[c]))));

// The middle of a label ----------------------------------------------------------------------------

function drawMiddle() {
  const column = columnNamed($("middle-column").value), options = column ? optionsOf(column).slice(0, MOST_OPTIONS) : [];
  $("middle-label").replaceChildren(...options.map(({ name }) => makeOption(name, name)));
}
$("middle-column").append(...columns.middles.map((column) => makeOption(column.name, column.name)));
$("middle-column").addEventListener("change", drawMiddle);
drawMiddle();
$("middle").addEventListener("click", () => {
  const column = columnNamed($("middle-column").value), option = column && optionNamed(column, $("middle-label").value);
  if (option) change({ middle: { column, option }, like: [], unlike: [], newRows: [], order: "near" });
});

// Filters ----------------------------------------------------------------------------------------

$("filter-column").append(makeOption("", "Choose a column"), ...columns.filtered.map((column) => makeOption(column.name, column.name)));
$("filter-column").addEventListener("change", drawFilter);

function filterOf(column) {
  const { filters } = app.state;
  const everything = column.values ? { low: -Infinity, high: Infinity, blank: false } : { names: new Set(), codes: new Set(), blank: false };
  if (!filters.has(column)) filters.set(column, everything);
  return filters.get(column);
}

/** After a filter has changed: its codes follow its names, and one that says nothing goes. */
function settle(column) {
  const filter = app.state.filters.get(column);
  if (filter && !column.values) filter.codes = new Set([...filter.names].flatMap((name) => [...optionNamed(column, name).codes]));
  const isEmpty = filter && (column.values ? filter.low === -Infinity && filter.high === Infinity : !filter.names.size && !filter.blank);
  if (isEmpty) app.state.filters.delete(column);
  change({});
}

export function toggleLabel(column, name) {
  const filter = filterOf(column);
  if (!filter.names.delete(name)) filter.names.add(name);
  settle(column);
}

/** Take a filter, or drop it where there is the same. */
export function toggleFilter(column, filter, isOn) {
  if (isOn) app.state.filters.delete(column);
  else app.state.filters.set(column, filter);
  settle(column);
}

function rangeInputs(column, filter) {
  const range = make("div", "range");
  const [from, to] = [["low", "from", -Infinity], ["high", "to", Infinity]].map(([end, words, nothing]) => {
    const input = make("input");
    Object.assign(input, { type: "number", step: "any", placeholder: words });
    input.setAttribute("aria-label", `${column.name} ${words}`);
    if (filter && Number.isFinite(filter[end])) input.value = String(filter[end]);
    input.addEventListener("change", () => {
      filterOf(column)[end] = input.value === "" ? nothing : Number(input.value);
      settle(column);
    });
    return input;
  });
  range.append(from, make("span", "", "to"), to);
  return range;
}

function checkbox(name, count, isChecked, toggle) {
  const label = make("label", "option"), input = make("input");
  input.type = "checkbox";
  input.checked = isChecked;
  input.addEventListener("change", toggle);
  label.append(input, make("span", "", name), make("small", "", count.toLocaleString("en")));
  return label;
}

function drawFilter() {
  const column = columnNamed($("filter-column").value), box = $("filter");
  box.replaceChildren();
  if (!column) return;
  const filter = app.state.filters.get(column), field = make("fieldset");
  field.append(make("legend", "sr", column.name));
  box.append(field);
  if (column.values) {
    field.append(rangeInputs(column, filter));
    return;
  }
  const options = optionsOf(column), list = make("div", "options");
  for (const { name, count } of options.slice(0, MOST_OPTIONS)) {
    list.append(checkbox(name, count, Boolean(filter && filter.names.has(name)), () => toggleLabel(column, name)));
  }
  const blank = server ? column.blank : column.codes.reduce((sum, code) => sum + (code < 0 ? 1 : 0), 0);
  const toggleBlank = () => {
    const changed = filterOf(column);
    changed.blank = !changed.blank;
    settle(column);
  };
  if (blank) list.append(checkbox("no label", blank, Boolean(filter && filter.blank), toggleBlank));
  field.append(list);
  if (options.length > MOST_OPTIONS) field.append(make("p", "note", `The first ${MOST_OPTIONS} of ${options.length} labels.`));
}

onChange(() => {
  $("filters").replaceChildren(
    ...[...app.state.filters].map(([column, filter]) => {
      const item = make("li"), text = filterText(column, filter);
      const button = makeButton("", `${text} ✕`, () => {
        app.state.filters.delete(column);
        change({});
        $("filter-column").focus();
      });
      button.setAttribute("aria-label", `Take out the filter ${text}`);
      item.append(button);
      return item;
    }),
  );
  // Checked boxes keep their focus: only what stands elsewhere is drawn anew.
  if (!$("filter").contains(document.activeElement)) drawFilter();
});

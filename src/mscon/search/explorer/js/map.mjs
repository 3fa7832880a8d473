// The right column: the map, its legend, the lasso and the preview of a point.

import { app, change, columnNamed, columns, data, describe, isExample, isTable, onChange, picture, rows, rowsText, server, spaces, takeAsQuery } from "./app.mjs";
import { classesOf, GREY } from "./colours.mjs";
import { toggleFilter, toggleLabel } from "./controls.mjs";
import { unpack } from "./data.mjs";
import { $, make, makeButton, makeOption } from "./dom.mjs";
import { circleAround, nearestPoint, neighbourOf, selectWithin, thinned } from "./geometry.mjs";
import { DIRECTIONS } from "./keys.mjs";

const PAD = 0.04;
const points = $("points"), overlay = $("overlay");
// side: of the drawing in pixels; places: of the points; cursor: the row that keys have led to; lasso: while it is drawn.
const map = { side: 0, places: null, cursor: -1, lasso: null, previewed: -1, timer: 0, ground: {} };

const isShown = (row) => app.mask[row] === 1 || isExample(row);

function changeMap(values) {
  const next = { ...app.state.map, ...values };
  if (!data.maps[next.space].tsne) next.kind = "pca";
  const hasMoved = values.space !== undefined || values.kind !== undefined;
  change({ map: next, ...(hasMoved && app.state.lasso.length ? { lasso: [], selected: null } : {}) });
}

/** Points of the map in the unit square, once a map. */
export function locate() {
  const { space, kind } = app.state.map, drawn = data.maps[space], key = `at-${kind}`;
  if (!drawn[key]) {
    drawn[key] = Float32Array.from(unpack(drawn[kind], "u2"), (value) => PAD + (1 - 2 * PAD) * (value / 65535));
    for (let row = 0; row < rows; row++) drawn[key][2 * row + 1] = 1 - drawn[key][2 * row + 1];
  }
  map.places = drawn[key];
  return map.places;
}

function drawChoices() {
  const { space, kind, colour } = app.state.map, drawn = data.maps[space], kinds = $("map-kind");
  kinds.replaceChildren(...(drawn.tsne ? [makeOption("tsne", "t-SNE")] : []), makeOption("pca", "PCA"));
  kinds.value = kind;
  $("map-space").value = String(space);
  if (columns.coloured[colour]) $("map-colour").value = columns.coloured[colour].name;
  const between = drawn.landmarks < rows ? ` of ${rowsText(drawn.landmarks)}, the others between those nearest to them` : "";
  $("map-note").textContent = kind === "pca"
    ? `The two directions of largest variance, ${Math.round(100 * drawn.share)} % of it. Distances are true, but most of the space is not seen.`
    : `t-SNE${between}. Near points are alike; distances between far groups, and their sizes, mean nothing.`;
  const { selected } = app.state;
  $("unselect").hidden = selected === null;
  if (selected) $("unselect").textContent = `Drop selection (${rowsText(selected.reduce((a, b) => a + b, 0))})`;
}

// Colours of the page ------------------------------------------------------------------------------

export const isDark = () => document.documentElement.dataset.theme === "dark" ||
  (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
// The darkest of the palette would vanish on a dark ground.
const onGround = (colour) => (isDark() && colour === "#4D4D4D" ? "#d0d3d8" : colour);

/** light-dark() is only resolved in a property that takes a colour. */
export function readGround() {
  const probe = make("span");
  document.body.append(probe);
  for (const name of ["ink", "accent", "warn", "card"]) {
    probe.style.color = `var(--${name})`;
    map.ground[name] = getComputedStyle(probe).color;
  }
  probe.remove();
}

// Drawing ------------------------------------------------------------------------------------------

function trace(context, shape, x, y, size) {
  if (shape === 0) {
    context.moveTo(x + size, y);
    context.arc(x, y, size, 0, 6.3);
  } else if (shape === 1) {
    context.moveTo(x, y - size * 1.2);
    context.lineTo(x + size * 1.1, y + size * 0.8);
    context.lineTo(x - size * 1.1, y + size * 0.8);
    context.closePath();
  } else context.rect(x - size * 0.9, y - size * 0.9, size * 1.8, size * 1.8);
}

/** A context that is cleared, in pixels of the page. */
function clear(canvas) {
  const scale = window.devicePixelRatio || 1, context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, map.side, map.side);
  return context;
}

const classes = new Map();
function drawnClasses() {
  const column = columns.coloured[app.state.map.colour];
  if (!column) return { column, of: new Int32Array(rows).fill(-1), keys: [], grey: true };
  if (!classes.has(column)) classes.set(column, classesOf(column, rows, data.colours));
  return { column, ...classes.get(column) };
}

export function drawMap() {
  const places = locate();
  drawChoices();
  map.side = Math.max(overlay.getBoundingClientRect().width, 1);
  for (const canvas of [points, overlay]) {
    const pixels = Math.round(map.side * (window.devicePixelRatio || 1));
    if (canvas.width !== pixels) canvas.width = canvas.height = pixels;
  }
  const context = clear(points), { column, of, keys, grey } = drawnClasses();
  const size = rows < 400 ? 3.6 : rows < 3000 ? 2.5 : 1.7;
  const groups = keys.map(() => []), rest = [], faint = [];
  for (let row = 0; row < rows; row++) (isShown(row) ? (of[row] < 0 ? rest : groups[of[row]]) : faint).push(row);
  const paint = (some, colour, shape, alpha) => {
    context.globalAlpha = alpha;
    context.fillStyle = colour;
    context.beginPath();
    for (const row of some) trace(context, shape, places[2 * row] * map.side, places[2 * row + 1] * map.side, size);
    context.fill();
  };
  paint(faint, GREY, 0, isDark() ? 0.16 : 0.22);
  paint(rest, GREY, 0, 0.7);
  groups.forEach((some, i) => paint(some, onGround(keys[i].colour), keys[i].shape, 0.8));
  context.globalAlpha = 1;
  drawLegend(column, keys, grey);
  drawOverlay();
}

export function drawOverlay() {
  if (!map.places || !map.side) return;
  const context = clear(overlay), { state, hits } = app, { places, side, ground } = map;
  const ring = (row, size) => {
    if (2 * row >= places.length) return; // a row that is not on the map
    context.moveTo(places[2 * row] * side + size, places[2 * row + 1] * side);
    context.arc(places[2 * row] * side, places[2 * row + 1] * side, size, 0, 6.3);
  };
  const stroke = (colour, width) => {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke();
  };
  context.beginPath();
  if (hits.scores) for (const row of hits.rows.slice(0, state.count)) ring(row, 4.5);
  stroke(ground.ink, 1.1);
  for (const [some, colour] of state.middle ? [] : [[state.like, ground.accent], [state.unlike, ground.warn]]) {
    for (const row of some) {
      context.beginPath();
      ring(row, 7);
      context.fillStyle = colour;
      context.fill();
      stroke(ground.card, 2);
    }
  }
  context.beginPath();
  (map.lasso || state.lasso).forEach(([x, y], i) => (i ? context.lineTo(x * side, y * side) : context.moveTo(x * side, y * side)));
  context.closePath();
  context.setLineDash([5, 4]);
  stroke(ground.ink, 1.5);
  context.setLineDash([]);
  context.beginPath();
  if (map.cursor >= 0) ring(map.cursor, 9);
  stroke(ground.ink, 2.5);
}

// The legend ---------------------------------------------------------------------------------------

function swatch({ colour, shape }) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg"), path = document.createElementNS(namespace, "path");
  svg.setAttribute("viewBox", "0 0 10 10");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ["M5 1a4 4 0 1 0 .01 0Z", "M5 .8 9.4 9H.6Z", "M1.2 1.2h7.6v7.6H1.2Z"][shape]);
  path.setAttribute("fill", onGround(colour));
  svg.append(path);
  return svg;
}

function filterBy(column, key, isOn) {
  if (column.values) toggleFilter(column, { low: key.low, high: key.high, blank: false }, isOn);
  else if (column.kind === "labels") {
    const names = new Set(column.sets[key.code].map((i) => column.labels[i]));
    toggleFilter(column, { names, codes: new Set(), blank: false }, isOn);
  } else toggleLabel(column, key.name);
  const again = [...$("legend").querySelectorAll("button")].find((button) => button.textContent === key.name);
  if (again) again.focus();
}

function drawLegend(column, keys, grey) {
  const items = keys.map((key) => {
    const item = make("li"), filter = app.state.filters.get(column);
    const isOn = Boolean(filter && (column.values ? filter.high === key.high : filter.codes.has(key.code)));
    const button = makeButton("", undefined, () => filterBy(column, key, isOn));
    button.setAttribute("aria-pressed", String(isOn));
    button.append(swatch(key), make("span", "", key.name));
    item.append(button);
    return item;
  });
  if (grey && column) {
    const item = make("li"), button = makeButton(""), isMore = column.labels.length > keys.length && !column.values;
    button.disabled = true;
    button.append(swatch({ colour: GREY, shape: 0 }), make("small", "", isMore ? "smaller classes or no label" : "no label"));
    item.append(button);
    items.push(item);
  }
  $("legend").replaceChildren(...items);
}

// The preview --------------------------------------------------------------------------------------

function preview(row, isSpoken) {
  if (row === map.previewed) return;
  map.previewed = row;
  const box = $("preview");
  box.replaceChildren();
  clearTimeout(map.timer);
  if (row < 0) return;
  const text = describe(row);
  // A pointer that crosses the map asks a server for what it rests at only.
  if (server && !isTable) map.timer = setTimeout(() => box.prepend(picture(row)), 80);
  else if (!isTable) box.append(picture(row));
  box.append(make("span", "", data.texts[row] ? `${data.texts[row]} — ${text}` : text));
  if (isSpoken) $("status").textContent = text;
}

// The pointer --------------------------------------------------------------------------------------

const pointOf = (event) => {
  const box = overlay.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
};
const select = (path) => change({ lasso: path, selected: path.length ? selectWithin(map.places, path) : null });

overlay.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  overlay.setPointerCapture(event.pointerId);
  map.lasso = [pointOf(event)];
});
overlay.addEventListener("pointermove", (event) => {
  const [x, y] = pointOf(event);
  if (map.lasso) {
    map.lasso.push([x, y]);
    drawOverlay();
  } else preview(nearestPoint(map.places, x, y, 12 / map.side, isShown));
});
overlay.addEventListener("pointerup", (event) => {
  if (!map.lasso) return;
  const path = map.lasso, [x, y] = pointOf(event);
  map.lasso = null;
  const reach = Math.max(...path.map(([px, py]) => Math.hypot(px - path[0][0], py - path[0][1])));
  if (reach * map.side >= 5) {
    select(thinned(path));
    return;
  }
  const row = nearestPoint(map.places, x, y, 14 / map.side, isShown);
  if (row >= 0) takeAsQuery(row);
  else drawOverlay();
});
overlay.addEventListener("pointercancel", () => {
  map.lasso = null;
  drawOverlay();
});
overlay.addEventListener("pointerleave", () => !map.lasso && map.cursor < 0 && preview(-1));

// Keys ---------------------------------------------------------------------------------------------

overlay.addEventListener("blur", () => {
  map.cursor = -1;
  drawOverlay();
});
overlay.addEventListener("keydown", (event) => {
  const { like } = app.state, direction = DIRECTIONS[event.key];
  if (direction && map.cursor < 0) map.cursor = like.length && like[0] < rows ? like[0] : nearestPoint(map.places, 0.5, 0.5, 2, isShown);
  else if (direction) {
    const next = neighbourOf(map.places, map.cursor, direction, isShown);
    if (next >= 0) map.cursor = next;
  } else if (event.key === "Enter" && map.cursor >= 0) takeAsQuery(map.cursor);
  else if (event.key === " " && map.cursor >= 0) select(circleAround(map.places, map.cursor, 50));
  else if (event.key === "Escape") select([]);
  else return;
  event.preventDefault();
  if (direction) {
    preview(map.cursor, true);
    drawOverlay();
  }
});

$("unselect").addEventListener("click", () => {
  select([]);
  overlay.focus();
});
$("map-space").append(...spaces.map((name, c) => makeOption(String(c), name)));
$("map-colour").append(...columns.coloured.map((column) => makeOption(column.name, column.name)));
$("map-space").addEventListener("change", () => changeMap({ space: Number($("map-space").value) }));
$("map-kind").addEventListener("change", () => changeMap({ kind: $("map-kind").value }));
$("map-colour").addEventListener("change", () => changeMap({ colour: columns.coloured.indexOf(columnNamed($("map-colour").value)) }));
onChange(drawMap);

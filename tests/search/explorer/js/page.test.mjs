import assert from "node:assert/strict";
import { test } from "node:test";

import { agreement, reference, weightOf } from "../../../../src/mscon/search/explorer/js/agreement.mjs";
import { classesOf, RAMP } from "../../../../src/mscon/search/explorer/js/colours.mjs";
import { csvCell, csvText } from "../../../../src/mscon/search/explorer/js/csv.mjs";
import { filterText, maskOf, wordsOf } from "../../../../src/mscon/search/explorer/js/filters.mjs";
import { circleAround, isInside, nearestPoint, neighbourOf, selectWithin, thinned } from "../../../../src/mscon/search/explorer/js/geometry.mjs";
import { exampleSign, stepTo } from "../../../../src/mscon/search/explorer/js/keys.mjs";
import { labelOf, optionNamed, optionsOf } from "../../../../src/mscon/search/explorer/js/labels.mjs";
import { fromHash, startOf, toHash } from "../../../../src/mscon/search/explorer/js/link.mjs";
import { LocalSource, mixedOrder, top } from "../../../../src/mscon/search/explorer/js/ranking.mjs";
import { ranksOf, targetOf, wordsFor } from "../../../../src/mscon/search/explorer/js/moves.mjs";
import { adopt, restrictions } from "../../../../src/mscon/search/explorer/js/remote.mjs";
import { column, LIMITS, smallData } from "./page.mjs";

const ALL = Uint8Array.from([1, 1, 1, 1, 1, 1]);
const NONE = { filters: new Map(), words: [], selected: null };
const near = (one, other) => assert.ok(Math.abs(one - other) < 1e-5, `${one} is not ${other}`);

// Ranking and mixes ------------------------------------------------------------------------------------

const sourceOf = (data) => new LocalSource(data.vectors, data.rows, data.dim);
const query = (like, unlike = [], isMiddle = false, more = {}) => ({ like, unlike, isMiddle, weights: new Map(), towards: [], ...more });

test("a row is nearest to rows of its own direction, whatever their length", () => {
  const hits = sourceOf(smallData()).rank({ query: query([0]), weights: [1, 0], mask: ALL, count: 6 });
  assert.deepEqual(hits.rows, [0, 1, 5, 2, 3, 4]);
  [1, 1, Math.SQRT1_2, 0, 0, -1].forEach((score, i) => near(hits.scores[i], score));
});

test("a score is the mean of the scores in each space by the mix, of which only proportions matter", () => {
  const source = sourceOf(smallData());
  const hits = source.rank({ query: query([0]), weights: [30, 10], mask: ALL, count: 6 });
  hits.rows.forEach((_, i) => near(hits.scores[i], (3 * hits.parts[0][i] + hits.parts[1][i]) / 4));
  const again = source.rank({ query: query([0]), weights: [90, 30], mask: ALL, count: 6 });
  assert.deepEqual(again.rows, hits.rows);
});

test("without weights there is no answer", () => {
  assert.deepEqual(sourceOf(smallData()).rank({ query: query([0]), weights: [0, 0], mask: ALL, count: 6 }).rows, []);
});

test("only rows of the mask are answers, and no more than are wanted", () => {
  const hits = sourceOf(smallData()).rank({ query: query([0]), weights: [1, 0], mask: Uint8Array.from([0, 1, 1, 0, 1, 1]), count: 2 });
  assert.deepEqual(hits.rows, [1, 5]);
});

test("examples to be unlike turn the direction, and those that cancel out have none", () => {
  const source = sourceOf(smallData());
  const turned = source.rank({ query: query([0], [2]), weights: [1, 0], mask: ALL, count: 1 });
  assert.deepEqual(turned.rows, [0]);
  near(turned.scores[0], Math.SQRT1_2);
  const cancelled = source.rank({ query: query([0], [1]), weights: [1, 0], mask: ALL, count: 6 });
  assert.ok(cancelled.scores.every((score) => score === 0));
});

test("the middle of a label is one example, however many rows it has", () => {
  const source = sourceOf(smallData());
  const middle = source.target(0, query([0, 1, 2], [3], true)), unit = Math.hypot(2, 1);
  const expected = [2 / unit, 1 / unit + 1], length = Math.hypot(...expected);
  expected.forEach((value, d) => near(middle[d], value / length));
});

test("an example counts as often as its weight says", () => {
  const source = sourceOf(smallData()), target = source.target(0, query([0, 2], [3], false, { weights: new Map([[0, 3], [3, 0.5]]) }));
  const expected = [3 / 2, 1 / 2 + 0.5], length = Math.hypot(...expected);
  expected.forEach((value, d) => near(target[d], value / length));
});

test("a move turns the query in one space and leaves it in the others", () => {
  const source = sourceOf(smallData()), move = { rows: [2, 3], weights: [1, 3], space: 0, amount: 0.25 };
  const plain = query([0]), moved = query([0], [], false, { towards: [move] });
  const goal = [0, 1 - 3], expected = [0.75, 0.25 * Math.sign(goal[1])], length = Math.hypot(...expected);
  expected.forEach((value, d) => near(source.target(0, moved)[d], value / length));
  assert.deepEqual(source.target(1, moved), source.target(1, plain));
  assert.ok(source.target(0, query([0], [], false, { towards: [{ ...move, amount: 1 }] }))[1] === -1);
});

test("a move is towards the rows of a label, rows near a number, or higher values by their ranks", () => {
  const data = smallData(), kind = column(data, "kind"), price = column(data, "price"), size = column(data, "size");
  assert.deepEqual(targetOf({ column: kind, option: optionNamed(kind, "shoes") }, 6), { rows: [2, 3], weights: [1, 1] });
  const three = targetOf({ column: price, near: 3 }, 6);
  assert.deepEqual(three.rows, [0, 1, 2, 3, 5]);
  [2, 1, 0, 1, 3].forEach((apart, i) => near(three.weights[i], Math.exp((-apart * apart) / 2)));
  assert.ok(targetOf({ column: price, near: 99 }, 6).weights.every((weight) => weight === 0));
  assert.deepEqual(targetOf({ column: price, to: "higher" }, 6).weights, [-2, -1, 0, 1, 2]);
  assert.deepEqual(targetOf({ column: size, to: "lower" }, 6).weights, [1.5, -0.5, -2, 1.5, -0.5]);
  assert.deepEqual(ranksOf([5, 1, 5, 5, 0]), [4, 2, 4, 4, 1]);
  assert.deepEqual([kind, price, size].map(wordsFor), [[], ["higher", "lower", "near"], ["higher", "lower"]]);
});

test("weights and moves are in the link, and those of a stranger are not believed", () => {
  const data = smallData(), state = startOf(data), [kind, price] = ["kind", "price"].map((name) => column(data, name));
  Object.assign(state, { like: [1, 3], weights: new Map([[3, 2.5]]) });
  for (const towards of [[{ column: kind, amount: 0.5, option: optionNamed(kind, "shoes") }, { column: price, amount: 1, near: 3 }], [{ column: price, amount: 0.5, to: "lower" }]]) {
    Object.assign(state, { towards });
    assert.deepEqual(fromHash(toHash(state, data), data), state);
  }
  for (const text of [
    'towards=[["kind",["constructor"],1]]', 'towards=[["size","higher",1]]', 'towards=[["kind","higher",1]]', 'towards=[["price","higher",2]]',
    'towards=[["price","near",1]]', 'towards=[["price",{},1]]', 'towards=[["price",1,"1"]]', "towards=[7,null]", 'weights=[[1,0],[1,"2"],[99,2],7]',
  ]) assert.deepEqual(fromHash(text, data), startOf(data), text);
});

test("of equal scores the earlier row is first", () => {
  assert.deepEqual(top(Float32Array.from([1, 3, 3, 2, 3]), [1, 1, 1, 1, 1], 3), [1, 2, 4]);
  assert.deepEqual(top(Float32Array.from([1, 3, 3, 2, 3]), [1, 0, 1, 1, 1], 2), [2, 4]);
});

test("the mixed order has each row once, and is always the same", () => {
  const order = mixedOrder(100);
  assert.deepEqual([...order].sort((a, b) => a - b), Array.from({ length: 100 }, (_, i) => i));
  assert.notDeepEqual(order, [...order].sort((a, b) => a - b));
  assert.deepEqual(order, mixedOrder(100));
});

// Agreement ----------------------------------------------------------------------------------------------

test("equal classes are the same, others different, missing ones unknown", () => {
  const data = smallData(), kind = column(data, "kind"), boots = reference(kind, [0, 1], null);
  assert.deepEqual([0, 2, 4].map((row) => agreement(kind, boots, row, LIMITS).state), ["same", "other", "unknown"]);
  assert.equal(reference(kind, [0, 2], null), null);
  assert.equal(reference(kind, [4], null), null);
  assert.equal(agreement(kind, null, 0, LIMITS).state, "none");
});

test("numbers agree by their distance to the mean of the examples, and say which way they lie", () => {
  const data = smallData(), price = column(data, "price"), mean = reference(price, [0, 2], null);
  assert.equal(mean.value, 2);
  const [low, same, high] = [0, 1, 3].map((row) => agreement(price, mean, row, LIMITS));
  near(low.value, Math.exp(-0.5));
  assert.deepEqual([low.mark, same.mark, high.mark], ["↓", "✓", "↑"]);
  assert.ok(low.words.includes("−1 from the query") && high.words.includes("+2"));
});

test("levels agree by the table, and say how many lie between", () => {
  const data = smallData(), size = column(data, "size"), small = reference(size, [0], null);
  near(agreement(size, small, 1, LIMITS).value, 0.5);
  assert.ok(agreement(size, small, 1, LIMITS).words.endsWith("1 level apart"));
  assert.equal(agreement(size, small, 2, LIMITS).value, 0);
});

test("sets agree by the labels that they share", () => {
  const closure = column(smallData(), "closure"), all = { ...closure, alike: { ...closure.alike, by: "all" } };
  const any = { ...closure, alike: { ...closure.alike, by: "any" } };
  assert.deepEqual([weightOf(closure, 0, 1), weightOf(closure, 0, 2), weightOf(closure, 1, 1)], [0.5, 0, 1]);
  assert.deepEqual([weightOf(any, 0, 1), weightOf(any, 0, 2), weightOf(all, 0, 1), weightOf(all, 1, 1)], [1, 0, 0, 1]);
  const unknown = { ...closure, alike: { sets: [[], [0]], by: "jaccard" } };
  assert.ok(Number.isNaN(weightOf(unknown, 0, 1)));
});

test("paths agree as far as they go together, and one that ends before they part says nothing", () => {
  const shape = column(smallData(), "shape");
  assert.ok(Number.isNaN(weightOf(shape, 0, 1)));
  assert.deepEqual([weightOf(shape, 0, 2), weightOf(shape, 1, 1), weightOf(shape, 1, 2)], [0, 1, 0]);
});

test("a row that carries the label of the query is the same", () => {
  const data = smallData(), closure = column(data, "closure"), option = optionNamed(closure, "zip");
  const zip = reference(closure, [], { column: closure, option });
  assert.deepEqual([0, 1, 2, 5].map((row) => agreement(closure, zip, row, LIMITS).state), ["other", "same", "same", "unknown"]);
});

test("a column without agreement says none", () => {
  const data = smallData(), title = column(data, "title");
  assert.equal(reference(title, [0], null), null);
  assert.ok(Number.isNaN(weightOf(title, 0, 0)));
});

// Labels, filters and words ---------------------------------------------------------------------------------

test("a path offers each beginning, a set each label, with how many rows have it", () => {
  const data = smallData(), names = (name) => optionsOf(column(data, name)).map((option) => [option.name, option.count]);
  assert.deepEqual(names("shape"), [["a", 2], ["a / …", 2], ["a/x", 2], ["b", 1]]);
  assert.deepEqual(names("closure"), [["lace", 4], ["zip", 3]]);
  assert.equal(labelOf(column(data, "closure"), 1), "lace, zip");
  assert.equal(labelOf(column(data, "price"), 4), "no label");
});

test("filters of several columns must all hold, and missing passes only where it is asked for", () => {
  const data = smallData(), filters = new Map([[column(data, "price"), { low: 2, high: Infinity, blank: true }]]);
  assert.deepEqual([...maskOf(data, 6, { ...NONE, filters })], [0, 1, 1, 1, 1, 1]);
  filters.set(column(data, "kind"), { names: new Set(["shoes"]), codes: new Set([1]), blank: false });
  assert.deepEqual([...maskOf(data, 6, { ...NONE, filters })], [0, 0, 1, 1, 0, 0]);
});

test("every word must stand somewhere in the row, in any case", () => {
  const data = smallData();
  const rowsWith = (text) => [...maskOf(data, 6, { ...NONE, words: wordsOf(text) })].flatMap((passes, row) => (passes ? [row] : []));
  assert.deepEqual(rowsWith(" BOOTS  alp "), [0]);
  assert.deepEqual(rowsWith("boots"), [0, 1, 5]);
  assert.deepEqual(rowsWith("ÉTÉ"), [4]);
  assert.deepEqual(rowsWith("nothing"), []);
  assert.deepEqual(rowsWith("line"), [], "what rows are called for want of a name is no cell");
  assert.deepEqual(rowsWith("   "), [0, 1, 2, 3, 4, 5]);
});

test("a selection restricts", () => {
  assert.deepEqual([...maskOf(smallData(), 6, { ...NONE, selected: Uint8Array.from([0, 1, 0, 0, 0, 1]) })], [0, 1, 0, 0, 0, 1]);
});

test("a filter says what it does", () => {
  const data = smallData();
  assert.equal(filterText(column(data, "price"), { low: 2, high: Infinity }), "price from 2");
  assert.equal(filterText(column(data, "kind"), { names: new Set(["boots"]), blank: true }), "kind: boots or no label");
});

// Colours ----------------------------------------------------------------------------------------------------

test("numbers are coloured in five ranges with as many rows each", () => {
  const data = smallData(), values = Float64Array.from({ length: 100 }, (_, i) => i), price = { ...column(data, "price"), values };
  const { of, keys, grey } = classesOf(price, 100, data.colours);
  assert.deepEqual(keys.map((key) => key.colour), RAMP);
  assert.deepEqual(keys.map((_, i) => of.filter((key) => key === i).length), [20, 20, 20, 20, 20]);
  assert.equal(grey, false);
});

test("fewer numbers than ranges stay grey", () => {
  const data = smallData(), price = { ...column(data, "price"), values: Float64Array.from([1, 2, NaN]) };
  assert.deepEqual(classesOf(price, 3, data.colours), { of: Int32Array.from([-1, -1, -1]), keys: [], grey: true });
});

test("classes take colours, then shapes; what is missing or rare is grey", () => {
  const data = smallData(), codes = Array.from({ length: 20 }, (_, i) => i % 8), labels = [..."abcdefgh"];
  const { of, keys, grey } = classesOf({ ...column(data, "kind"), labels, codes }, 20, data.colours);
  assert.deepEqual(keys.map(({ colour, shape }) => [colour, shape]), [["#1", 0], ["#2", 0], ["#1", 1], ["#2", 1], ["#1", 2]]);
  assert.equal(grey, true);
  assert.equal(of[0], of[8]);
});

test("levels of an order take the ends of the ramp", () => {
  const data = smallData(), { keys } = classesOf(column(data, "size"), 6, data.colours);
  assert.deepEqual([keys[0].colour, keys.at(-1).colour], [RAMP[0], RAMP.at(-1)]);
});

// The address ------------------------------------------------------------------------------------------------

test("a view comes back from its address", () => {
  const data = smallData(), state = startOf(data), shape = column(data, "shape");
  Object.assign(state, { like: [3], unlike: [0, 5], mix: [100, 7], text: "blue & grün", order: "mixed", count: 72, name: "" });
  state.filters.set(column(data, "price"), { low: 1.5, high: Infinity, blank: false });
  state.filters.set(shape, { names: new Set(["a / …"]), codes: new Set([1]), blank: true });
  state.map = { space: 1, kind: "tsne", colour: 2 };
  state.lasso = [[0.1, 0.2], [0.3, 0.4], [-1, 1]];
  const again = fromHash(toHash(state, data), data);
  for (const key of ["like", "unlike", "mix", "text", "order", "count", "name", "map", "lasso"]) assert.deepEqual(again[key], state[key], key);
  assert.deepEqual(again.filters.get(shape), { names: new Set(["a / …"]), codes: new Set([1]), blank: true });
  assert.equal(toHash(again, data), toHash(state, data));
  assert.equal(toHash(startOf(data), data), "");
});

test("the middle of a label comes back, unless rows are examples", () => {
  const data = smallData(), kind = column(data, "kind"), state = { ...startOf(data), middle: { column: kind, option: optionNamed(kind, "boots") } };
  assert.equal(fromHash(toHash(state, data), data).middle.option.name, "boots");
  assert.equal(fromHash(`like=1&${toHash(state, data)}`, data).middle, null);
});

for (const text of [
  "like=999999.-1.x.1e3&unlike=99999999999&mix=1.2.3&name=nothing",
  "mix=500.0&show=100000&order=doubt:__proto__&map=[%22x%22,7,null]",
  "middle=[%22kind%22,%22__proto__%22]&only=[[%22kind%22,[%22constructor%22,7]],[%22price%22,[%22x%22,{}]],7,null]",
  "middle={&only=%7B%7D&map=%22&lasso=1_2..3_x..%F0%9F", "lasso=9e9_0..0_9e9..1_1&only=[[%22price%22,[null,null]]]&like=%00", "show=0", "show=25",
]) {
  test(`a hostile address is no view: ${text}`, () => {
    const data = smallData(), start = startOf(data);
    assert.deepEqual(fromHash(text, data), start);
  });
}

// Keys -------------------------------------------------------------------------------------------------------

test("arrows walk the results, and stop at the edges", () => {
  assert.deepEqual(["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "Home", "End"].map((key) => stepTo(key, 5, 12, 4)), [6, 4, 9, 1, 0, 11]);
  assert.deepEqual([stepTo("ArrowLeft", 0, 12, 4), stepTo("ArrowDown", 9, 12, 4), stepTo("a", 3, 12, 4)], [0, 9, -1]);
});

test("plus and minus are signs of examples", () => {
  assert.deepEqual(["+", "=", "-", "−", "x"].map(exampleSign), ["like", "like", "unlike", "unlike", null]);
});

const PLACES = Float32Array.from([0.5, 0.5, 0.6, 0.5, 0.9, 0.55, 0.5, 0.2, 0.505, 0.5]);

test("arrows on the map lead to the nearest point that way, and not a hair's breadth", () => {
  const go = (direction, isShown = () => true) => neighbourOf(PLACES, 0, direction, isShown);
  assert.deepEqual([go([1, 0]), go([0, -1]), go([-1, 0]), go([1, 0], (row) => row !== 1)], [1, 3, -1, 2]);
});

test("a point near the pointer is met, and none from afar", () => {
  assert.equal(nearestPoint(PLACES, 0.61, 0.5, 0.05, () => true), 1);
  assert.equal(nearestPoint(PLACES, 0.1, 0.9, 0.05, () => true), -1);
});

test("a lasso holds what is inside it; a circle the points around", () => {
  const square = [[0, 0], [1, 0], [1, 1], [0, 1]];
  assert.deepEqual([isInside(square, 0.5, 0.5), isInside(square, 1.5, 0.5)], [true, false]);
  assert.deepEqual([...selectWithin(PLACES, circleAround(PLACES, 0, 3))], [1, 1, 0, 0, 1]);
  assert.equal(thinned(Array.from({ length: 1000 }, (_, i) => [i / 1000, 0])).length <= 60, true);
});

// CSV and the server -------------------------------------------------------------------------------------------

test("no cell of a CSV file is a formula, and numbers stay numbers", () => {
  assert.deepEqual(["=1+1", "+a", "@SUM", "-x", "\tx"].map(csvCell), ["'=1+1", "'+a", "'@SUM", "'-x", "'\tx"]);
  assert.deepEqual([-1.5, "-1.5", "+2e3", 0, null, NaN].map(csvCell), ["-1.5", "-1.5", "+2e3", "0", "", ""]);
  assert.deepEqual(['a "b"', "a,b", "a\nb", "=a,b"].map(csvCell), ['"a ""b"""', '"a,b"', '"a\nb"', "\"'=a,b\""]);
  assert.equal(csvText([["a", "b"], [1, null]]), "\ufeffa,b\r\n1,\r\n");
});

test("rows that a server tells of get the next numbers, once", () => {
  const data = smallData({ server: { pictures: false } });
  const answer = {
    rows: [3, 17], lines: [5, 19], names: ["line 5", "line 19"], texts: [],
    cells: [[0, 1, 0, 0, 0, "a", 0], [1, null, 2, -1, 1, null, 1]], scores: [1, 0.5], parts: [[1, 0.5], [1, 0.5]], passing: 2,
  };
  assert.deepEqual(adopt(data, answer).rows, [3, 6]);
  assert.deepEqual(adopt(data, answer).rows, [3, 6]);
  assert.ok(Number.isNaN(column(data, "price").values[6]));
  assert.equal(labelOf(column(data, "kind"), 6), "shoes");
  assert.equal(adopt(data, { message: "no" }).message, "no");
});

test("a server is told of filters, words and the selection by the rows' own numbers", () => {
  const data = smallData({ server: { pictures: false } }), state = { ...startOf(data), text: "x", selected: [0, 1, 0, 0, 0, 0] };
  state.filters.set(column(data, "price"), { low: 2, high: Infinity, blank: false });
  assert.deepEqual(restrictions(state, data), { filters: [{ column: "price", low: 2, high: null, blank: false }], within: [1], text: "x" });
});

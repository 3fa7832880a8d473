// A small page's data, as Python writes it, for the tests of the script.

import { readData } from "../../../../src/mscon/search/explorer/js/data.mjs";

const pack = (array) => Buffer.from(array.buffer).toString("base64");
const codes = (numbers) => pack(Int32Array.from(numbers));

export const LIMITS = { same: 0.995, different: 0.005 };

/** Six rows: classes, numbers, levels, sets, paths, names and the split. */
export function smallData(more = {}) {
  return readData({
    rows: 6, total: 6, dim: 2, input: "columns", name: "title",
    ids: codes([0, 1, 2, 3, 4, 5]), lines: codes([2, 3, 4, 5, 6, 7]),
    names: ["line 2", "line 3", "line 4", "line 5", "line 6", "line 7"],
    spaces: ["kind", "price"],
    vectors: [pack(Int8Array.from([1, 0, 2, 0, 0, 3, 0, -1, -5, 0, 1, 1])), pack(Int8Array.from([1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1]))],
    maps: [{ tsne: null, pca: "", landmarks: 6 }, { tsne: "x", pca: "", landmarks: 6 }],
    pictures: [], texts: [], colours: ["#1", "#2"], words: LIMITS,
    columns: [
      { name: "kind", kind: "category", space: 0, labels: ["boots", "shoes"], codes: codes([0, 0, 1, 1, -1, 0]), line: false, alike: { equal: true } },
      { name: "price", kind: "number", space: 1, labels: [], values: pack(Float64Array.from([1, 2, 3, 4, NaN, 6])), line: true, alike: { width: 1 } },
      { name: "size", kind: "levels", space: null, labels: ["s", "m", "l"], codes: codes([0, 1, 2, 0, 1, -1]), line: true,
        alike: { size: 3, table: pack(Uint8Array.from([254, 127, 0, 127, 254, 127, 0, 127, 254])), values: [] } },
      { name: "closure", kind: "labels", space: null, labels: ["lace", "zip"], sets: [[0], [0, 1], [1]], codes: codes([0, 1, 2, 1, 0, -1]), line: false,
        alike: { sets: [[0], [0, 1], [1]], by: "jaccard" } },
      { name: "shape", kind: "path", space: null, labels: ["a", "a/x", "b"], parts: [["a"], ["a", "x"], ["b"]], codes: codes([0, 1, 2, 1, 0, -1]), line: false,
        alike: { depth: 2, levels: codes([0, -1, 0, 0, 1, 1]) } },
      { name: "title", kind: "name", space: null, labels: [], texts: ["Alpha", "Beta", null, "=HYPERLINK(1)", "Été", "x"], line: false, alike: null },
      { name: "split", kind: "category", space: null, split: true, labels: ["test", "train"], codes: codes([1, 1, 1, 1, 1, 0]), line: false, alike: { equal: true } },
    ],
    ...more,
  });
}

export const column = (data, name) => data.columns.find((one) => one.name === name);

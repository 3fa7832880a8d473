// Cells of columns as texts, and the labels that a column offers.

export const short = (number) => String(Number(number.toPrecision(5)));
export const signed = (number) => (number < 0 ? "−" : "+") + short(Math.abs(number));
export const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

export function isMissing(column, row) {
  if (column.texts) return column.texts[row] === null;
  return column.values ? Number.isNaN(column.values[row]) : column.codes[row] < 0;
}

export function labelOf(column, row) {
  if (isMissing(column, row)) return "no label";
  if (column.texts) return column.texts[row];
  return column.values ? short(column.values[row]) : codeText(column, column.codes[row]);
}

export function codeText(column, code) {
  return column.kind === "labels" ? column.sets[code].map((i) => column.labels[i]).join(", ") : column.labels[code];
}

/** What can be chosen in a column: its labels; of a path also each beginning. */
export function optionsOf(column) {
  if (column.options) return column.options;
  const codesOf = new Map();
  const add = (name, code) => {
    if (!codesOf.has(name)) codesOf.set(name, new Set());
    codesOf.get(name).add(code);
  };
  if (column.kind === "labels") {
    column.sets.forEach((set, code) => set.forEach((label) => add(column.labels[label], code)));
  } else if (column.kind === "path") {
    column.parts.forEach((parts, code) => {
      parts.forEach((_, end) => {
        const isWhole = end + 1 === parts.length;
        add(isWhole ? column.labels[code] : `${parts.slice(0, end + 1).join(" / ")} / …`, code);
      });
    });
  } else if (column.codes) {
    column.labels.forEach((label, code) => add(label, code));
  }
  let counts = column.counts;
  if (!counts && column.codes) {
    counts = new Float64Array(Math.max(column.labels.length, column.sets ? column.sets.length : 0));
    for (const code of column.codes) if (code >= 0) counts[code]++;
  }
  column.options = [...codesOf].map(([name, codes]) => ({
    name, codes, count: [...codes].reduce((sum, code) => sum + counts[code], 0),
  }));
  return column.options;
}

export const optionNamed = (column, name) => optionsOf(column).find((option) => option.name === name);

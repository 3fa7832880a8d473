// Which rows are nearest, for a page that is served: its server knows.

export async function post(place, body, kind = "application/json") {
  try {
    const response = await fetch(place, { method: "POST", headers: { "Content-Type": kind }, body, redirect: "error" });
    const content = await response.json();
    return response.ok ? content : { message: content.message };
  } catch {
    return { message: "The server does not answer. Has it been stopped?" };
  }
}

/** What restricts the rows that may be found, as the server reads it. */
export function restrictions(state, data) {
  const finite = (end) => (Number.isFinite(end) ? end : null);
  const filters = [...state.filters].map(([column, f]) => (column.values
    ? { column: column.name, low: finite(f.low), high: finite(f.high), blank: f.blank }
    : { column: column.name, codes: [...f.codes], blank: f.blank }));
  const within = state.selected && data.ids.slice(0, data.rows).filter((_, row) => state.selected[row]);
  return { filters, within, text: state.text };
}

/** Rows of an answer as this page numbers them. Those that are new to it get the next numbers. */
export function adopt(data, answer) {
  if (answer.message !== undefined) return { rows: [], scores: null, parts: null, passing: 0, message: answer.message };
  const rows = answer.rows.map((id, i) => {
    if (data.rowOf.has(id)) return data.rowOf.get(id);
    data.rowOf.set(id, data.ids.length);
    data.ids.push(id);
    data.lines.push(answer.lines[i]);
    data.names.push(answer.names[i]);
    data.texts.push(answer.texts[i] || "");
    data.columns.forEach((column, n) => {
      const cell = answer.cells[i][n];
      if (column.texts) column.texts.push(cell);
      else (column.values || column.codes).push(cell === null ? NaN : cell);
    });
    return data.ids.length - 1;
  });
  return { rows, scores: answer.scores || null, parts: answer.parts || null, passing: answer.passing };
}

export class RemoteSource {
  constructor(data, stateOf) {
    Object.assign(this, { data, stateOf, waiting: null, isBusy: false });
  }

  /** Resolves to rows as `adopt` gives them. */
  rank({ query, weights, count }) {
    const { data } = this, state = this.stateOf();
    if (weights.every((weight) => weight === 0)) return { rows: [], scores: [], parts: data.spaces.map(() => []) };
    const names = state.newRows.map((one) => one.name), examples = [...query.like, ...query.unlike, ...names];
    const idsOf = (rows) => rows.map((row) => data.ids[row]);
    return this.request("search", {
      mix: Object.fromEntries(data.spaces.map((name, c) => [name, weights[c]])),
      like: idsOf(query.like),
      unlike: idsOf(query.unlike),
      new: names,
      weights: Object.fromEntries([...state.weights].filter(([key]) => examples.includes(key)).map(([key, weight]) => [data.ids[key] ?? key, weight])),
      // In a space without weight a move changes nothing, which the server refuses.
      towards: state.towards.filter(({ column }) => weights[column.space] > 0).map(({ column, option, near, to, amount }) => ({
        column: column.name, amount, ...(option ? { codes: [...option.codes] } : to ? { to } : { near }),
      })),
      middle: state.middle && { column: state.middle.column.name, codes: [...state.middle.option.codes] },
      count,
      ...restrictions(state, data),
    });
  }

  browse(count) {
    return this.request("browse", { count, ...restrictions(this.stateOf(), this.data) });
  }

  /** Rows by their position, {rows}, or by their line in the table, {lines}. */
  async learn(names) {
    return adopt(this.data, await post("rows", JSON.stringify(names)));
  }

  /** One request at a time. Of those that come meanwhile only the last is sent; the others resolve to null. */
  request(place, body) {
    return new Promise((resolve) => {
      if (this.waiting) this.waiting.resolve(null);
      this.waiting = { place, body, resolve };
      if (!this.isBusy) this.sendAll();
    });
  }

  async sendAll() {
    this.isBusy = true;
    while (this.waiting) {
      const { place, body, resolve } = this.waiting;
      this.waiting = null;
      resolve(adopt(this.data, await post(place, JSON.stringify(body))));
    }
    this.isBusy = false;
  }
}

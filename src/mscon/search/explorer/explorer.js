"use strict";
// The explorer: search by any mix of similarities, in the page itself; or, of a page that is served, by its server.
//
// Texts of the table (labels, columns, file names) are strangers': they only ever become text nodes, values and
// attributes, never markup. Rows are numbers from 0; a link names them by their position in the run. A page that is
// served begins with the rows on its map; others that are found get the next numbers.
(() => {
  const island = document.getElementById("data");
  const data = JSON.parse(island.textContent);
  island.remove();

  // What the page is made of -------------------------------------------------------------------

  const KINDS = { i1: Int8Array, u1: Uint8Array, u2: Uint16Array, i4: Int32Array, f4: Float32Array, f8: Float64Array };
  const unpack = (text, kind) => {
    const letters = atob(text);
    const bytes = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
    return new KINDS[kind](bytes.buffer);
  };
  const served = data.server || null;
  const listed = (numbers) => (served ? Array.from(numbers) : numbers); // what grows is no typed array
  const rows = data.rows, dim = data.dim, spaces = data.spaces;
  const ids = listed(unpack(data.ids, "i4")), lines = listed(unpack(data.lines, "i4"));
  const pictured = served ? served.pictures : data.pictures.length > 0;
  const rowOf = new Map();
  ids.forEach((id, row) => rowOf.set(id, row));
  const columns = data.columns.map((told) => ({
    ...told,
    codes: told.codes === undefined ? null : listed(unpack(told.codes, "i4")),
    values: told.values === undefined ? null : listed(unpack(told.values, "f8")),
    doubt: told.doubt === undefined ? null : unpack(told.doubt, "f4"),
    known: told.known === undefined ? null : unpack(told.known, "u1"),
    apart: told.apart === undefined ? null : unpack(told.apart, "f4"),
    alike: told.alike && told.alike.table
      ? { ...told.alike, table: unpack(told.alike.table, "u1"), places: new Map(told.alike.values.map((value, i) => [value, i])) }
      : told.alike,
  }));
  const columnNamed = (name) => columns.find((column) => column.name === name);
  // The split is something to filter and colour by; that it is the same says nothing about likeness.
  const compared = columns.filter((column) => column.kind !== "name" && !column.split);
  const MOST_FACTS = 8;
  const carded = compared.slice(0, MOST_FACTS);
  const FIRST = 10;

  // Where neighbours come from: the page itself, or its server, whose `rank` returns a promise.
  const own = {
    vectors: data.vectors.map((text) => unpack(text, "i1")),
    scales: [],
    scores: new Float32Array(rows),
    query: null,
    parts: [],

    /** Score of every row in every space: the cosine to unit(mean of like - mean of unlike). */
    prepare(query) {
      if (this.query === query) return;
      this.query = query;
      this.parts = spaces.map((_, c) => {
        const wanted = new Float32Array(dim);
        for (const [examples, sign] of [[query.like, 1], [query.unlike, -1]]) {
          const mean = new Float32Array(dim);
          for (const row of examples) {
            const scale = this.scale(c)[row] / examples.length;
            for (let d = 0; d < dim; d++) mean[d] += scale * this.vectors[c][row * dim + d];
          }
          // The middle of a label is one example, however many rows it is the middle of.
          if (query.isMiddle && sign > 0) toUnit(mean);
          for (let d = 0; d < dim; d++) wanted[d] += sign * mean[d];
        }
        toUnit(wanted);
        const vectors = this.vectors[c], scales = this.scale(c), part = new Float32Array(rows);
        for (let row = 0, at = 0; row < rows; row++) {
          let sum = 0;
          for (let d = 0; d < dim; d++, at++) sum += wanted[d] * vectors[at];
          part[row] = sum * scales[row];
        }
        return part;
      });
    },

    /** What makes each vector of a space a unit vector. */
    scale(c) {
      if (!this.scales[c]) {
        const vectors = this.vectors[c], scales = new Float32Array(rows);
        for (let row = 0, at = 0; row < rows; row++) {
          let sum = 0;
          for (let d = 0; d < dim; d++, at++) sum += vectors[at] * vectors[at];
          scales[row] = sum > 0 ? 1 / Math.sqrt(sum) : 0;
        }
        this.scales[c] = scales;
      }
      return this.scales[c];
    },

    /**
     * The rows with the highest weighted mean of scores, of those that the mask lets through.
     * request: {query: {like, unlike, isMiddle}, weights, mask, count} -> {rows, scores, parts: one list a space}.
     */
    rank({ query, weights, mask, count }) {
      this.prepare(query);
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      if (!(total > 0)) return { rows: [], scores: [], parts: spaces.map(() => []) };
      const scores = this.scores.fill(0);
      weights.forEach((weight, c) => {
        if (weight === 0) return;
        const part = this.parts[c], share = weight / total;
        for (let row = 0; row < rows; row++) scores[row] += share * part[row];
      });
      const best = top(scores, mask, count);
      return {
        rows: best,
        scores: best.map((row) => scores[row]),
        parts: spaces.map((_, c) => best.map((row) => this.parts[c][row])),
      };
    },
  };

  const remote = {
    rank({ query, weights, count }) {
      if (weights.every((weight) => weight === 0)) return { rows: [], scores: [], parts: spaces.map(() => []), passing };
      const mix = Object.fromEntries(spaces.map((name, c) => [name, weights[c]]));
      const asked = state.asked && { column: state.asked.column.name, codes: [...state.asked.option.codes] };
      const rowsOf = (list) => list.map((row) => ids[row]);
      return ask("search", {
        mix, like: rowsOf(query.like), unlike: rowsOf(query.unlike), images: state.images.map((image) => image.name),
        middle: asked, count, ...restrictions(),
      });
    },
    browse: (count) => ask("browse", { count, ...restrictions() }),
    learn: async (wanted) => adopt(await post("rows", JSON.stringify({ rows: wanted }))),
  };
  const source = served ? remote : own;

  function restrictions() {
    const finite = (end) => (Number.isFinite(end) ? end : null);
    const filters = [...state.filters].map(([column, f]) => column.values
      ? { column: column.name, low: finite(f.low), high: finite(f.high), blank: f.blank }
      : { column: column.name, codes: [...f.codes], blank: f.blank });
    return { filters, within: state.selected && ids.slice(0, rows).filter((_, row) => state.selected[row]) };
  }

  async function post(place, body, kind = "application/json") {
    try {
      const answer = await fetch(place, { method: "POST", headers: { "Content-Type": kind }, body, redirect: "error" });
      const told_ = await answer.json();
      return answer.ok ? told_ : { message: told_.message };
    } catch {
      return { message: "The server does not answer. Has it been stopped?" };
    }
  }

  // One question at a time. Of those that come meanwhile only the last is asked; what it overtakes is answered by null.
  let waiting = null, isWaiting = false;
  function ask(place, body) {
    return new Promise((resolve) => {
      if (waiting) waiting.resolve(null);
      waiting = { place, body, resolve };
      if (!isWaiting) askAll();
    });
  }
  async function askAll() {
    isWaiting = true;
    while (waiting) {
      const { place, body, resolve } = waiting;
      waiting = null;
      resolve(adopt(await post(place, JSON.stringify(body))));
    }
    isWaiting = false;
  }

  /** An answer with rows as this page numbers them. Those that are new to it get the next numbers. */
  function adopt(answer) {
    if (answer.message !== undefined) return { rows: [], scores: null, parts: null, passing: 0, message: answer.message };
    const found = answer.rows.map((id, i) => {
      if (rowOf.has(id)) return rowOf.get(id);
      rowOf.set(id, ids.length);
      ids.push(id);
      lines.push(answer.lines[i]);
      data.names.push(answer.names[i]);
      if (answer.texts) data.texts.push(answer.texts[i]);
      columns.forEach((column, n) => (column.values || column.codes).push(answer.cells[i][n] === null ? NaN : answer.cells[i][n]));
      return ids.length - 1;
    });
    return { rows: found, scores: answer.scores || null, parts: answer.parts || null, passing: answer.passing };
  }

  function toUnit(vector) {
    const length = Math.hypot(...vector);
    // What is left where examples cancel out is rounding, and has no direction.
    for (let d = 0; d < vector.length; d++) vector[d] = length > 1e-6 ? vector[d] / length : 0;
  }

  /** The rows of the highest scores, the highest first; of equal ones the earlier row. */
  function top(scores, mask, count) {
    const best = [];
    let least = -Infinity;
    for (let row = 0; row < rows; row++) {
      const score = scores[row];
      if (mask[row] === 0 || !(score > least || best.length < count)) continue;
      let low = 0, high = best.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (scores[best[middle]] >= score) low = middle + 1;
        else high = middle;
      }
      best.splice(low, 0, row);
      if (best.length > count) best.pop();
      if (best.length === count) least = scores[best[count - 1]];
    }
    return best;
  }

  // Labels -------------------------------------------------------------------------------------

  const short = (number) => String(Number(number.toPrecision(5)));
  const signed = (number) => (number < 0 ? "−" : "+") + short(Math.abs(number));

  function isMissing(column, row) {
    return column.values ? Number.isNaN(column.values[row]) : column.codes[row] < 0;
  }

  function labelOf(column, row) {
    if (isMissing(column, row)) return "no label";
    return column.values ? short(column.values[row]) : codeText(column, column.codes[row]);
  }

  function codeText(column, code) {
    return column.kind === "labels" ? column.sets[code].map((i) => column.labels[i]).join(", ") : column.labels[code];
  }

  /** What rows can be asked for in a column: its labels; of a path also what stands above. */
  function optionsOf(column) {
    if (column.options) return column.options;
    const found = new Map();
    const add = (name, code) => {
      if (!found.has(name)) found.set(name, new Set());
      found.get(name).add(code);
    };
    if (column.kind === "labels") {
      column.sets.forEach((set, code) => set.forEach((label) => add(column.labels[label], code)));
    } else if (column.kind === "path") {
      column.parts.forEach((parts, code) => {
        parts.forEach((_, end) => {
          const prefix = parts.slice(0, end + 1);
          const whole = end + 1 === parts.length;
          add(whole ? column.labels[code] : `${prefix.join(" / ")} / …`, code);
        });
      });
    } else if (column.codes) {
      column.labels.forEach((label, code) => add(label, code));
    }
    const counts = column.counts || new Float64Array(column.codes ? Math.max(column.labels.length, column.sets ? column.sets.length : 0) : 0);
    if (column.codes && !column.counts) for (const code of column.codes) if (code >= 0) counts[code]++;
    column.options = [...found].map(([name, codes]) => ({
      name, codes, count: [...codes].reduce((sum, code) => sum + counts[code], 0),
    }));
    return column.options;
  }

  const optionNamed = (column, name) => optionsOf(column).find((option) => option.name === name);

  /** What the query says in a column: the label that all its examples share; of numbers their mean. Else null. */
  function reference(column, like, asked) {
    if (asked && asked.column === column) {
      const codes = asked.option.codes;
      return { code: codes.size === 1 ? [...codes][0] : -1, codes, label: asked.option.name };
    }
    if (asked || like.length === 0) return null;
    if (column.values) {
      const known = like.map((row) => column.values[row]).filter((value) => !Number.isNaN(value));
      // Places that are on no line, such as hours of a day, have no middle.
      if (!known.length || !(column.line || known.every((value) => value === known[0]))) return null;
      return { value: column.line ? known.reduce((a, b) => a + b, 0) / known.length : known[0] };
    }
    const code = column.codes[like[0]];
    return code >= 0 && like.every((row) => column.codes[row] === code) ? { code } : null;
  }

  const NOTHING = { state: "none", mark: "", value: NaN, words: "" };
  const UNKNOWN = { state: "unknown", mark: "?", value: NaN, words: "not known" };

  /** How alike two values of a column are, as its similarity says it: from 0 to 1, NaN where unknown. Codes, or numbers. */
  function weightOf(column, one, other) {
    const alike = column.alike;
    if (!alike) return NaN;
    if (alike.equal) return one === other ? 1 : 0;
    if (!alike.table) return Math.exp(-(((one - other) / alike.width) ** 2) / 2);
    const place = (value) => (column.values ? alike.places.get(value) : value);
    const step = alike.table[place(one) * alike.size + place(other)];
    return step === undefined || step === 255 ? NaN : step / 254;
  }

  /** How alike a value is to a reference. Whoever carries a label that was asked for is as alike as can be. */
  function weightTo(column, wanted, value) {
    if (!wanted.codes) return weightOf(column, column.values ? wanted.value : wanted.code, value);
    if (wanted.codes.has(value)) return 1;
    if (column.kind === "labels") return column.alike ? 0 : NaN;
    const known = [...wanted.codes].map((code) => weightOf(column, code, value)).filter((weight) => !Number.isNaN(weight));
    return known.length ? Math.max(...known) : NaN;
  }

  /** How a row agrees with a reference: in words, as a mark, and as a weight. */
  function agreement(column, wanted, row) {
    if (wanted === null || !column.alike) return NOTHING;
    if (isMissing(column, row)) return UNKNOWN;
    const value = column.values ? column.values[row] : column.codes[row];
    const weight = weightTo(column, wanted, value);
    if (Number.isNaN(weight)) return UNKNOWN;
    if (weight >= data.words.same) return { state: "same", mark: "✓", value: weight, words: "the same" };
    const isPartly = weight >= data.words.different;
    const words = isPartly ? `partly ${weight.toFixed(2)}` : "different", state_ = isPartly ? "part-way" : "other";
    if (!column.line) return { state: state_, mark: isPartly ? "◐" : "✕", value: weight, words };
    const apart = value - (column.values ? wanted.value : wanted.code), steps = Math.abs(apart);
    const far = column.values ? `${signed(apart)} from the query` : `${steps} level${steps === 1 ? "" : "s"} apart`;
    return { state: state_, mark: apart > 0 ? "↑" : "↓", value: weight, words: `${words}, ${far}` };
  }

  // State --------------------------------------------------------------------------------------

  const EQUAL = 50;
  const start = () => ({
    like: [], unlike: [], asked: null, // asked: {column, option}, the middle of a label
    images: [], // {name, picture, file}: new ones, to be like; only a server takes them
    mix: spaces.map(() => EQUAL),
    filters: new Map(), // column -> {names: Set, blank: bool} or {low, high, blank}
    lasso: [], selected: null,
    order: "near", // "near", "mixed" or the name of a column as "doubt:name"
    count: 24,
    map: { space: 0, kind: data.maps[0] && data.maps[0].tsne ? "tsne" : "pca", colour: 0 },
  });
  let state = start();
  let query = { like: [], unlike: [], isMiddle: false }, said = [], mask = new Uint8Array(rows).fill(1), passing = rows;
  let shown = { rows: [], scores: null, parts: null };
  // A mixed order of all rows, always the same.
  const mixed = (() => {
    const order = Array.from({ length: rows }, (_, row) => row);
    let seed = 7;
    for (let i = rows - 1; i > 0; i--) {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      const j = seed % (i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  })();
  const hasQuery = () => query.like.length + query.unlike.length + state.images.length > 0 || (served !== null && state.asked !== null);
  const doubted = () => (state.order.startsWith("doubt:") ? columnNamed(state.order.slice(6)) || null : null);

  function queryChanged() {
    if (state.asked && !served) {
      const { column, option } = state.asked;
      const like = [];
      for (let row = 0; row < rows; row++) if (option.codes.has(column.codes[row])) like.push(row);
      query = { like, unlike: state.unlike, isMiddle: true };
    } else {
      query = { like: state.like, unlike: state.unlike, isMiddle: false };
    }
    // A new image has no labels to agree with.
    said = columns.map((column) => (state.images.length ? null : reference(column, state.like, state.asked)));
    chances.fill(null);
    maskChanged();
    drawQuery();
  }

  // Rows that are examples are no answers; of the middle of a label all rows may be.
  function maskChanged() {
    passing = 0;
    const chosen = [...state.filters];
    for (let row = 0; row < rows; row++) {
      let through = state.selected === null || state.selected[row] === 1;
      for (let i = 0; through && i < chosen.length; i++) through = lets(chosen[i][0], chosen[i][1], row);
      mask[row] = through ? 1 : 0;
      passing += mask[row];
    }
    if (state.order === "near") for (const row of [...state.like, ...state.unlike]) mask[row] = 0;
  }

  function lets(column, filter, row) {
    if (isMissing(column, row)) return filter.blank;
    if (column.values) return column.values[row] >= filter.low && column.values[row] <= filter.high;
    return filter.codes.has(column.codes[row]);
  }

  // Pieces of page -----------------------------------------------------------------------------

  const $ = (id) => document.getElementById(id);
  function make(tag, name, text) {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  }
  function option(value, text) {
    const node = make("option", "", text);
    node.value = value;
    return node;
  }
  const rowName = (row) => data.names[row] || `line ${lines[row]}`;
  const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

  function picture(row) {
    if (!pictured) return make("span", "words", data.texts[row]);
    const image = new Image();
    if (served) {
      image.loading = "lazy";
      image.addEventListener("error", () => (image.alt = "no picture that can be read"));
    }
    image.src = served ? `thumbnail/${ids[row]}` : data.pictures[row];
    image.alt = "";
    image.draggable = false;
    return image;
  }
  // Pictures that were shown once are kept: a decoded one is put back at once.
  const kept = new Map();
  function keptPicture(row) {
    let image = kept.get(row);
    if (!image) {
      if (kept.size > 4000) for (const [old, node] of kept) if (!node.isConnected) kept.delete(old);
      kept.set(row, (image = picture(row)));
    }
    return image;
  }

  // The query ----------------------------------------------------------------------------------

  function drawQuery() {
    const box = $("query");
    box.replaceChildren();
    if (!hasQuery()) {
      const words = served && served.uploads ? ", drop or paste one of your own," : ",";
      box.append(make("p", "note", `Click a picture to see what is like it${words} or search for the middle of a label.`));
      $("query-title").textContent = "Query";
      return;
    }
    $("query-title").textContent = state.asked ? "Query: the middle of a label" : "Query";
    if (state.asked) {
      const { column, option } = state.asked;
      const chip = make("button", "small", `${column.name}: ${option.name} ✕`);
      chip.type = "button";
      chip.setAttribute("aria-label", `Drop the query: the middle of ${counted(option.count, "row")} with ${column.name} ${option.name}`);
      chip.addEventListener("click", () => change({ asked: null }));
      const list = make("ul", "chips"), item = make("li");
      item.append(chip);
      list.append(item);
      box.append(list, make("p", "note", `The middle of ${counted(option.count, "row")}.`));
    }
    const all = [...state.like.map((row) => [row, "like"]), ...state.unlike.map((row) => [row, "unlike"])];
    const list = make("ul", "examples");
    const isOnly = all.length + state.images.length === 1;
    for (const image of state.images) {
      const item = make("li"), button = make("button", `example like${isOnly ? " only" : ""}`), shown_ = new Image();
      button.type = "button";
      shown_.src = image.picture;
      shown_.alt = "";
      button.append(shown_, make("b", "", "+"));
      button.setAttribute("aria-label", `Take out this example to be like: the new image ${image.file}`);
      button.title = "Take out";
      button.addEventListener("click", () => change({ images: state.images.filter((other) => other !== image) }));
      item.append(button);
      list.append(item);
    }
    for (const [row, sign] of all) {
      const item = make("li"), button = make("button", `example ${sign}${isOnly ? " only" : ""}`);
      button.type = "button";
      button.append(picture(row), make("b", "", sign === "like" ? "+" : "−"));
      button.setAttribute("aria-label", `Take out this example ${sign === "like" ? "to be like" : "to be unlike"}: ${describe(row)}`);
      button.title = "Take out";
      button.addEventListener("click", () => change({ [sign]: state[sign].filter((other) => other !== row) }));
      item.append(button);
      list.append(item);
    }
    if (all.length + state.images.length) box.append(list);
    if (state.images.length) box.append(make("p", "note", `${state.images.map((image) => image.file).join(", ")}: as the encoder sees it. No link can keep it.`));
    if (state.asked || state.images.length) return;
    const facts = make("dl", "known");
    compared.forEach((column) => {
      const known = said[columns.indexOf(column)];
      let text = "no label";
      if (known) text = column.values ? short(known.value) : codeText(column, known.code);
      else if (state.like.some((row) => !isMissing(column, row))) text = state.like.length > 1 ? "the examples differ" : text;
      if (!state.like.length) return;
      facts.append(make("dt", "", column.name), make("dd", "", text));
    });
    box.append(facts);
  }

  function describe(row) {
    const labels = carded.map((column) => `${column.name} ${labelOf(column, row)}`);
    return [rowName(row), ...labels].join(", ");
  }

  // The mix ------------------------------------------------------------------------------------

  const sliders = spaces.map((name, c) => {
    const box = make("div", "slider"), label = make("label", "", name), value = make("output"), only = make("button", "", "only");
    const input = make("input");
    input.type = "range";
    Object.assign(input, { min: 0, max: 100, step: 1, id: `mix-${c}` });
    label.htmlFor = value.htmlFor = input.id;
    label.title = name;
    only.type = "button";
    only.setAttribute("aria-label", `Only ${name}`);
    only.addEventListener("click", () => change({ mix: spaces.map((_, other) => (other === c ? 100 : 0)) }));
    input.addEventListener("input", () => {
      state.mix[c] = Number(input.value);
      value.value = input.value;
      if (state.order !== "near" && hasQuery()) change({ order: "near" });
      else rank();
    });
    box.append(label, value, only, input);
    $("mix").append(box);
    return { input, value };
  });

  function drawMix() {
    sliders.forEach(({ input, value }, c) => {
      input.value = String(state.mix[c]);
      value.value = String(state.mix[c]);
    });
  }

  // Results ------------------------------------------------------------------------------------

  const slots = [];
  const free = spaces.map((_, c) => c).filter((c) => !carded.some((column) => column.space === c));
  function slot(i) {
    if (slots[i]) return slots[i];
    const item = make("li", "card"), take = make("button", "take"), frame = make("span", "frame");
    take.type = "button";
    take.append(frame);
    const signs = make("span", "signs");
    const [plus, minus] = ["+", "−"].map((sign) => {
      const button = make("button", "", sign);
      button.type = "button";
      button.tabIndex = -1;
      button.title = sign === "+" ? "One more example like this (+)" : "An example unlike this (−)";
      button.setAttribute("aria-label", button.title);
      signs.append(button);
      return button;
    });
    const line = make("span", "score"), score = new Text(), name = make("small"), nameText = new Text();
    name.append(nameText);
    line.append(score, name);
    take.append(line);
    const facts = [...carded.map((column) => ({ column, space: column.space })), ...free.map((space) => ({ column: null, space }))].map(
      ({ column, space }) => {
        const fact = make("span", "fact none"), mark = make("span", "mark"), label = make("span", "label"), part = make("span", "part");
        const markText = new Text(), labelText = new Text(column ? "" : spaces[space]), partText = new Text();
        mark.append(markText);
        label.append(labelText);
        let bar = null;
        if (space !== null) {
          bar = make("i");
          part.append(bar, partText);
        }
        fact.append(mark, label);
        if (bar) fact.append(part);
        take.append(fact);
        return { column, index: column ? columns.indexOf(column) : -1, space, fact, markText, labelText, partText, bar, name: "" };
      },
    );
    item.append(take, signs);
    const made = { item, take, frame, score, nameText, facts, row: -1, picture: null, label: "" };
    take.addEventListener("click", (event) => {
      if (event.shiftKey) addExample(made.row, "like");
      else if (event.altKey) addExample(made.row, "unlike");
      else takeAsQuery(made.row);
    });
    plus.addEventListener("click", () => addExample(made.row, "like"));
    minus.addEventListener("click", () => addExample(made.row, "unlike"));
    slots.push(made);
    return made;
  }

  const write = (text, value) => {
    if (text.data !== value) text.data = value;
  };

  function fill(made, row, score, part, place) {
    if (made.row !== row) {
      made.row = row;
      const image = keptPicture(row);
      if (image !== made.picture) {
        made.frame.replaceChildren(image);
        made.frame.classList.toggle("words", !pictured);
        made.picture = image;
      }
      if (pictured) made.take.title = rowName(row);
      else write(made.nameText, rowName(row));
    }
    const told = [];
    write(made.score, score);
    for (const fact of made.facts) {
      let state_ = "none", mark = "";
      if (fact.column) {
        const label = labelOf(fact.column, row);
        const agrees = agreement(fact.column, said[fact.index], row);
        state_ = isMissing(fact.column, row) ? "unknown" : agrees.state;
        mark = agrees.mark;
        write(fact.labelText, label);
        told.push(`${fact.column.name} ${label}${agrees.words ? `, ${agrees.words}` : ""}`);
      }
      write(fact.markText, mark);
      let name = `fact ${state_}${fact.column ? "" : " free"}`;
      if (fact.bar) {
        const value = part ? part(fact.space) : NaN;
        write(fact.partText, part ? value.toFixed(2) : "");
        const length = part ? Math.max(0, value) : 0;
        if (fact.length !== length) fact.bar.style.transform = `scaleX(${(fact.length = length).toFixed(3)})`;
        if (part && state.mix[fact.space] === 0) name += " idle";
      }
      if (fact.name !== name) fact.fact.className = fact.name = name;
    }
    const label = `${place + 1}: ${score ? `${score}, ` : ""}${told.join("; ")}; ${rowName(row)}`;
    if (made.label !== label) made.take.setAttribute("aria-label", (made.label = label));
  }

  let asking = 0, usedSlots = 0, current = 0;

  /** Ask for the rows to show, and show them. */
  function rank() {
    if (state.order === "near" && hasQuery()) {
      const turn = ++asking;
      const found = source.rank({ query, weights: state.mix, mask, count: Math.max(state.count, FIRST) });
      if (found instanceof Promise) found.then((answer) => answer && turn === asking && show(answer));
      else show(found);
      return;
    }
    const turn = ++asking;
    const column = doubted();
    let order = mixed;
    if (column) {
      const worth = column.doubt.map((value) => (Number.isNaN(value) ? -1 : value));
      const able = mask.map((through, row) => (through && worth[row] >= 0 ? 1 : 0));
      show({ rows: top(worth, able, state.count), scores: null, parts: null });
      return;
    }
    if (served) {
      source.browse(state.count).then((answer) => answer && turn === asking && show(answer));
      return;
    }
    const some = [];
    for (let i = 0; i < rows && some.length < state.count; i++) if (mask[order[i]]) some.push(order[i]);
    show({ rows: some, scores: null, parts: null });
  }

  function show(found) {
    shown = found;
    if (found.passing !== undefined) passing = found.passing;
    const column = doubted(), grid = $("grid"), count = Math.min(found.rows.length, state.count);
    for (let i = 0; i < count; i++) {
      const row = found.rows[i], made = slot(i);
      const score = found.scores ? found.scores[i].toFixed(2) : column ? doubtText(column, row) : "";
      fill(made, row, score, found.parts ? (c) => found.parts[c][i] : null, i);
      if (i >= usedSlots) grid.append(made.item);
    }
    for (let i = count; i < usedSlots; i++) slots[i].item.remove();
    usedSlots = count;
    current = Math.min(current, Math.max(count - 1, 0));
    for (let i = 0; i < count; i++) {
      const index = i === current ? 0 : -1;
      if (slots[i].take.tabIndex !== index) slots[i].take.tabIndex = index;
    }
    if (grid.classList.contains("scored") !== Boolean(found.parts)) grid.classList.toggle("scored");
    const isBare = !found.scores && !column && pictured;
    if (grid.classList.contains("bare") !== isBare) grid.classList.toggle("bare");
    drawHead(count);
    drawAgreement();
    drawOverlay();
    later();
  }

  function doubtText(column, row) {
    const value = column.doubt[row], known = column.known[row];
    if (column.alike && column.alike.equal) return `${Math.round(value * known)} of ${known} differ`;
    const far = Number.isNaN(column.apart[row]) ? "" : `, ${short(column.apart[row])} off`;
    return `${Math.round(value * 100)} %${far}`;
  }

  function headline(count) {
    if (shown.message) return "No answer";
    const through = counted(passing, "row");
    if (state.order === "near" && hasQuery()) return `Nearest of ${through}`;
    const column = doubted();
    return column ? `Suspicious labels first: ${column.name}` : count ? counted(passing, "row") : "No row";
  }

  function drawHead(count) {
    const title = headline(count), node = $("grid-title");
    if (node.textContent !== title) node.textContent = title;
    const column = doubted();
    let text = "";
    if (column) {
      const off = column.values && column.line ? ", and how far their numbers are off" : "";
      const what = column.alike && column.alike.equal
        ? "with another label"
        : `how little its label agrees with theirs on average, 0 % where all are the same${off}`;
      text = `Of the ${data.nearest} rows nearest in the space of ${column.name}, itself and those without a label left out: ${what}. ` +
        "A high one is a reason to look, no proof. The space learnt from these labels, so wrong ones of training rows can look right here: filter by split to see rows it never learnt from.";
    }
    write($("explained").firstChild || $("explained").appendChild(new Text()), text);
    const empty = $("empty");
    empty.hidden = count > 0;
    if (!count) {
      const nothing = state.order === "near" && hasQuery() && state.mix.every((weight) => weight === 0);
      empty.textContent = shown.message
        ? shown.message
        : nothing
        ? "All sliders are at 0, so nothing says what alike means. Move one up."
        : "No row passes: take out a filter, or drop the selection of the map.";
    }
    $("more").hidden = count < state.count || count >= passing || state.count >= 240;
  }

  // How the nearest agree, beside what any rows would do.
  const gauges = new Map();
  const chances = columns.map(() => null);
  function chance(column, index) {
    if (chances[index] === null) {
      let sum = 0, known = 0;
      for (let row = 0; row < rows; row++) {
        const value = agreement(column, said[index], row).value;
        if (!Number.isNaN(value)) [sum, known] = [sum + value, known + 1];
      }
      chances[index] = known ? sum / known : NaN;
    }
    return chances[index];
  }

  function drawAgreement() {
    const list = $("agreement"), near = state.order === "near" && hasQuery() && shown.rows.length > 0;
    list.hidden = !near;
    told = [];
    if (!near) return;
    const first = shown.rows.slice(0, FIRST);
    compared.forEach((column) => {
      const index = columns.indexOf(column);
      let gauge = gauges.get(column);
      if (!gauge) {
        const item = make("li"), name = make("span", "name", column.name), count = make("span", "count"), bar = make("span", "gauge");
        name.title = column.name;
        gauge = { item, text: new Text(), fill: make("i"), tick: make("u"), bar };
        count.append(gauge.text);
        bar.append(gauge.fill, gauge.tick);
        item.append(name, count, bar);
        item.setAttribute("data-column", column.name);
        list.append(item);
        gauges.set(column, gauge);
      }
      gauge.item.hidden = said[index] === null || !column.alike;
      if (gauge.item.hidden) return;
      let sum = 0, known = 0;
      for (const row of first) {
        const value = agreement(column, said[index], row).value;
        if (!Number.isNaN(value)) [sum, known] = [sum + value, known + 1];
      }
      const usual = chance(column, index);
      let text;
      if (!known) text = "not known";
      else if (Number.isInteger(sum)) text = `${sum} of ${known}`;
      else text = `${sum.toFixed(1)} of ${known}`;
      write(gauge.text, text);
      gauge.bar.hidden = !known;
      gauge.fill.style.transform = `scaleX(${known ? (sum / known).toFixed(3) : 0})`;
      gauge.tick.style.left = `${(100 * usual).toFixed(1)}%`;
      const title = `${column.name}: of the ${first.length} nearest ${text} agree; of all rows ${Math.round(100 * usual)} %`;
      if (gauge.title !== title) gauge.item.title = gauge.title = title;
      told.push(`${column.name} ${text}`);
    });
  }
  let told = [];

  // Said, and kept in the address, once things rest: neither belongs in the move of a slider.
  let resting = 0;
  function later() {
    clearTimeout(resting);
    resting = setTimeout(() => {
      const count = Math.min(shown.rows.length, state.count);
      const parts = [`${$("grid-title").textContent}, ${count} shown.`];
      if (told.length) parts.push(`Of the ${Math.min(FIRST, count)} nearest: ${told.join("; ")}.`);
      if (!count) parts.push($("empty").textContent);
      $("status").textContent = parts.join(" ");
      keep();
    }, 300);
  }

  function takeAsQuery(row) {
    change({ like: [row], unlike: [], asked: null, images: [], order: "near" });
  }

  function addExample(row, sign) {
    const other = sign === "like" ? "unlike" : "like";
    if (state[sign].includes(row)) return;
    change({ [sign]: [...state[sign], row], [other]: state[other].filter((o) => o !== row), asked: sign === "like" ? null : state.asked, order: "near" });
  }

  $("grid").addEventListener("keydown", (event) => {
    const at = slots.findIndex((made) => made.take === document.activeElement);
    if (at < 0 || event.ctrlKey || event.metaKey) return;
    if (event.key === "+" || event.key === "=") addExample(slots[at].row, "like");
    else if (event.key === "-" || event.key === "−") addExample(slots[at].row, "unlike");
    else {
      const top_ = slots[0].item.offsetTop;
      const across = slots.slice(0, usedSlots).filter((made) => made.item.offsetTop === top_).length;
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, Home: -at, End: usedSlots - 1 - at }[event.key];
      if (step === undefined) return;
      const to = at + step;
      if (to >= 0 && to < usedSlots) {
        slots[at].take.tabIndex = -1;
        slots[to].take.tabIndex = 0;
        slots[to].take.focus();
        current = to;
      }
    }
    event.preventDefault();
  });

  // Filters ------------------------------------------------------------------------------------

  const filterable = columns.filter((column) => column.kind !== "name" || column.labels.length <= 200);
  $("filter-column").append(option("", "Choose a column"), ...filterable.map((column) => option(column.name, column.name)));
  $("filter-column").addEventListener("change", drawFilter);

  function filterOf(column) {
    if (!state.filters.has(column)) {
      state.filters.set(column, column.values ? { low: -Infinity, high: Infinity, blank: false } : { names: new Set(), codes: new Set(), blank: false });
    }
    return state.filters.get(column);
  }
  function settle(column) {
    const filter = state.filters.get(column);
    if (!filter) return;
    if (column.values) {
      if (filter.low === -Infinity && filter.high === Infinity) state.filters.delete(column);
    } else {
      filter.codes = new Set();
      for (const name of filter.names) for (const code of optionNamed(column, name).codes) filter.codes.add(code);
      if (!filter.names.size && !filter.blank) state.filters.delete(column);
    }
    change({});
  }
  function toggleLabel(column, name) {
    const filter = filterOf(column);
    if (!filter.names.delete(name)) filter.names.add(name);
    settle(column);
  }

  const MOST_OPTIONS = 300;
  function drawFilter() {
    const column = columnNamed($("filter-column").value), box = $("filter");
    box.replaceChildren();
    if (!column) return;
    const filter = state.filters.get(column);
    const field = make("fieldset");
    field.append(make("legend", "sr", column.name));
    if (column.values) {
      const range = make("div", "range");
      const ends = ["low", "high"].map((end) => {
        const input = make("input");
        input.type = "number";
        input.step = "any";
        input.placeholder = end === "low" ? "from" : "to";
        input.setAttribute("aria-label", `${column.name} ${input.placeholder}`);
        if (filter && Number.isFinite(filter[end])) input.value = String(filter[end]);
        input.addEventListener("change", () => {
          filterOf(column)[end] = input.value === "" ? (end === "low" ? -Infinity : Infinity) : Number(input.value);
          settle(column);
        });
        return input;
      });
      range.append(ends[0], make("span", "", "to"), ends[1]);
      field.append(range);
      box.append(field);
      return;
    }
    const options = optionsOf(column).slice(0, MOST_OPTIONS), list = make("div", "options");
    const line = (name, count, checked, toggle) => {
      const label = make("label", "option"), input = make("input");
      input.type = "checkbox";
      input.checked = checked;
      input.addEventListener("change", toggle);
      label.append(input, make("span", "", name), make("small", "", count.toLocaleString("en")));
      list.append(label);
    };
    for (const { name, count } of options) line(name, count, Boolean(filter && filter.names.has(name)), () => toggleLabel(column, name));
    const blank = served ? column.blank : column.codes.reduce((sum, code) => sum + (code < 0 ? 1 : 0), 0);
    if (blank) {
      line("no label", blank, Boolean(filter && filter.blank), () => {
        const own = filterOf(column);
        own.blank = !own.blank;
        settle(column);
      });
    }
    field.append(list);
    if (optionsOf(column).length > MOST_OPTIONS) field.append(make("p", "note", `The first ${MOST_OPTIONS} of ${optionsOf(column).length} labels.`));
    box.append(field);
  }

  function filterText(column, filter) {
    if (column.values) {
      const [low, high] = [filter.low, filter.high].map((end) => (Number.isFinite(end) ? short(end) : ""));
      return low && high ? `${column.name} ${low} to ${high}` : low ? `${column.name} from ${low}` : `${column.name} up to ${high}`;
    }
    return `${column.name}: ${[...filter.names, ...(filter.blank ? ["no label"] : [])].join(" or ")}`;
  }

  function drawFilters() {
    $("filters").replaceChildren(
      ...[...state.filters].map(([column, filter]) => {
        const item = make("li"), text = filterText(column, filter), button = make("button", "", `${text} ✕`);
        button.type = "button";
        button.setAttribute("aria-label", `Take out the filter ${text}`);
        button.addEventListener("click", () => {
          state.filters.delete(column);
          change({});
          $("filter-column").focus();
        });
        item.append(button);
        return item;
      }),
    );
    // Checked boxes keep their focus: only what stands elsewhere is drawn anew.
    if (!$("filter").contains(document.activeElement)) drawFilter();
  }

  // The middle of a label ----------------------------------------------------------------------

  const askable = columns.filter((column) => column.codes && column.kind !== "name" && !column.split);
  $("middle-column").append(...askable.map((column) => option(column.name, column.name)));
  function drawMiddle() {
    const column = columnNamed($("middle-column").value);
    $("middle-label").replaceChildren(...(column ? optionsOf(column).slice(0, MOST_OPTIONS).map(({ name }) => option(name, name)) : []));
  }
  $("middle-column").addEventListener("change", drawMiddle);
  drawMiddle();
  $("middle").addEventListener("click", () => {
    const column = columnNamed($("middle-column").value);
    const chosen = column && optionNamed(column, $("middle-label").value);
    if (chosen) change({ asked: { column, option: chosen }, like: [], unlike: [], images: [], order: "near" });
  });

  // Order --------------------------------------------------------------------------------------

  $("order").append(
    option("near", "nearest to the query"),
    option("mixed", "shuffled"),
    ...columns.filter((column) => column.doubt).map((column) => option(`doubt:${column.name}`, `suspicious ${column.name} first`)),
  );
  $("order").addEventListener("change", () => change({ order: $("order").value }));
  $("more").addEventListener("click", () => {
    const at = usedSlots;
    change({ count: Math.min(state.count + 24, 240) });
    if (slots[at] && usedSlots > at) {
      slots[current].take.tabIndex = -1;
      current = at;
      slots[at].take.tabIndex = 0;
      slots[at].take.focus();
    }
  });
  $("equal").addEventListener("click", () => change({ mix: spaces.map(() => EQUAL) }));

  // Map ----------------------------------------------------------------------------------------

  const RAMP = ["#3b4cc0", "#2f8fc0", "#2aa58a", "#8ab04a", "#e0a100"];
  const GREY = "#a9aeb6", SHAPES = 3, MOST_CLASSES = data.colours.length * SHAPES - 1;
  const colourable = columns.filter((column) => column.kind !== "name");
  const PAD = 0.04;
  const points = $("points"), overlay = $("overlay");
  let side = 0, places = null, cursor = -1, drawn = [];

  $("map-space").append(...spaces.map((name, c) => option(String(c), name)));
  $("map-colour").append(...colourable.map((column) => option(column.name, column.name)));
  $("map-space").addEventListener("change", () => changeMap({ space: Number($("map-space").value) }));
  $("map-kind").addEventListener("change", () => changeMap({ kind: $("map-kind").value }));
  $("map-colour").addEventListener("change", () => changeMap({ colour: colourable.indexOf(columnNamed($("map-colour").value)) }));

  function changeMap(values) {
    const moved = values.space !== undefined || values.kind !== undefined;
    state.map = { ...state.map, ...values };
    if (!data.maps[state.map.space].tsne) state.map.kind = "pca";
    if (moved && state.lasso.length) Object.assign(state, { lasso: [], selected: null });
    change({}, true);
  }

  /** Points of the map in the unit square, x then y, once a map. */
  function locate() {
    const { space, kind } = state.map, map = data.maps[space];
    const key = `at-${kind}`;
    if (!map[key]) {
      const packed = unpack(map[kind], "u2");
      map[key] = Float32Array.from(packed, (value) => PAD + (1 - 2 * PAD) * (value / 65535));
      for (let row = 0; row < rows; row++) map[key][2 * row + 1] = 1 - map[key][2 * row + 1];
    }
    places = map[key];
    const kinds = $("map-kind");
    kinds.replaceChildren(...(map.tsne ? [option("tsne", "t-SNE")] : []), option("pca", "PCA"));
    kinds.value = kind;
    const percent = Math.round(100 * map.share);
    $("map-note").textContent = kind === "pca"
      ? `The two directions of largest variance, ${percent} % of it. Distances are true, but most of the space is not seen.`
      : `t-SNE${map.landmarks < rows ? ` of ${counted(map.landmarks, "row")}, the others between those nearest to them` : ""}. Near points are alike; distances between far groups, and their sizes, mean nothing.`;
  }

  /** For each row its class in the legend, -1 for grey; and the legend. */
  function classesOf(column) {
    if (column.classes) return column.classes;
    const of = new Int32Array(rows).fill(-1);
    let keys = [];
    if (column.values) {
      const sorted = Array.from(column.values.slice(0, rows)).filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
      const ends = RAMP.map((_, i) => sorted[Math.floor((sorted.length * (i + 1)) / RAMP.length) - 1]);
      ends[RAMP.length - 1] = sorted[sorted.length - 1];
      const lows = [sorted[0], ...ends.slice(0, -1)];
      if (sorted.length >= RAMP.length) {
        for (let row = 0; row < rows; row++) if (!isMissing(column, row)) of[row] = Math.max(0, ends.findIndex((end) => column.values[row] <= end));
        keys = RAMP.map((colour, i) => ({ name: `${short(lows[i])} to ${short(ends[i])}`, colour, shape: 0, low: i ? lows[i] : -Infinity, high: ends[i] }));
      }
    } else {
      const counts = new Map();
      for (const code of column.codes.slice(0, rows)) if (code >= 0) counts.set(code, (counts.get(code) || 0) + 1);
      const ordered = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a)).slice(0, MOST_CLASSES).sort((a, b) => a - b);
      const place = new Map(ordered.map((code, i) => [code, i]));
      for (let row = 0; row < rows; row++) if (place.has(column.codes[row])) of[row] = place.get(column.codes[row]);
      const isRamp = column.kind === "levels" && column.labels.length <= RAMP.length;
      keys = ordered.map((code, i) => ({
        name: codeText(column, code), code,
        colour: isRamp ? RAMP[Math.round((code * (RAMP.length - 1)) / Math.max(column.labels.length - 1, 1))] : data.colours[i % data.colours.length],
        shape: isRamp ? 0 : Math.floor(i / data.colours.length) % SHAPES,
      }));
    }
    column.classes = { of, keys, grey: of.some((key) => key < 0) };
    return column.classes;
  }

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

  const isDark = () => document.documentElement.dataset.theme === "dark" ||
    (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  // Light ground, dark ground: the darkest of the palette would vanish on the latter.
  const onGround = (colour) => (isDark() && colour === "#4D4D4D" ? "#d0d3d8" : colour);

  function drawMap() {
    locate();
    const box = overlay.getBoundingClientRect(), scale = window.devicePixelRatio || 1;
    side = Math.max(box.width, 1);
    for (const canvas of [points, overlay]) {
      const pixels = Math.round(side * scale);
      if (canvas.width !== pixels) canvas.width = canvas.height = pixels;
    }
    const context = points.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, side, side);
    const column = colourable[state.map.colour];
    const { of, keys, grey } = column ? classesOf(column) : { of: new Int32Array(rows).fill(-1), keys: [], grey: true };
    const size = rows < 400 ? 3.6 : rows < 3000 ? 2.5 : 1.7;
    const groups = keys.map(() => []), rest = [], faint = [];
    for (let row = 0; row < rows; row++) (mask[row] || isExample(row) ? (of[row] < 0 ? rest : groups[of[row]]) : faint).push(row);
    const paint = (some, colour, shape, alpha) => {
      context.globalAlpha = alpha;
      context.fillStyle = colour;
      context.beginPath();
      for (const row of some) trace(context, shape, places[2 * row] * side, places[2 * row + 1] * side, size);
      context.fill();
    };
    paint(faint, GREY, 0, isDark() ? 0.16 : 0.22);
    paint(rest, GREY, 0, 0.7);
    groups.forEach((some, i) => paint(some, onGround(keys[i].colour), keys[i].shape, 0.8));
    context.globalAlpha = 1;
    drawLegend(column, keys, grey);
    drawOverlay();
  }

  const isExample = (row) => state.like.includes(row) || state.unlike.includes(row);

  function drawLegend(column, keys, grey) {
    const list = $("legend");
    list.replaceChildren(
      ...keys.map((key) => {
        const item = make("li"), button = make("button");
        button.type = "button";
        const filter = state.filters.get(column);
        const pressed = Boolean(filter && (column.values ? filter.high === key.high : filter.codes.has(key.code)));
        button.setAttribute("aria-pressed", String(pressed));
        button.append(swatch(key), make("span", "", key.name));
        button.addEventListener("click", () => {
          if (column.values) {
            if (pressed) state.filters.delete(column);
            else state.filters.set(column, { low: key.low, high: key.high, blank: false });
            change({});
          } else if (column.kind === "labels") {
            const names = column.sets[key.code].map((i) => column.labels[i]);
            state.filters.set(column, { names: new Set(names), codes: new Set(), blank: false });
            if (pressed) state.filters.delete(column);
            settle(column);
            change({});
          } else toggleLabel(column, key.name);
          const again = [...list.querySelectorAll("button")].find((other) => other.textContent === key.name);
          if (again) again.focus();
        });
        item.append(button);
        return item;
      }),
    );
    if (grey && column) {
      const item = make("li", "", "");
      const words = make("button");
      words.type = "button";
      words.disabled = true;
      words.append(swatch({ colour: GREY, shape: 0 }), make("small", "", column.labels.length > keys.length && !column.values ? "smaller classes or no label" : "no label"));
      item.append(words);
      list.append(item);
    }
  }

  function swatch({ colour, shape }) {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", "0 0 10 10");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS(space, "path");
    path.setAttribute("d", ["M5 1a4 4 0 1 0 .01 0Z", "M5 .8 9.4 9H.6Z", "M1.2 1.2h7.6v7.6H1.2Z"][shape]);
    path.setAttribute("fill", onGround(colour));
    svg.append(path);
    return svg;
  }

  let lassoing = null;
  function drawOverlay() {
    if (!places || !side) return;
    const scale = window.devicePixelRatio || 1, context = overlay.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, side, side);
    const ring = (row, size) => {
      context.moveTo(places[2 * row] * side + size, places[2 * row + 1] * side);
      context.arc(places[2 * row] * side, places[2 * row + 1] * side, size, 0, 6.3);
    };
    const ink = (context.strokeStyle = ground.ink);
    if (shown.scores) {
      context.lineWidth = 1.1;
      context.beginPath();
      for (const row of shown.rows.slice(0, state.count)) ring(row, 4.5);
      context.stroke();
    }
    if (!state.asked) {
      for (const [some, colour] of [[state.like, ground.accent], [state.unlike, ground.warn]]) {
        for (const row of some) {
          context.beginPath();
          ring(row, 7);
          context.fillStyle = colour;
          context.fill();
          context.lineWidth = 2;
          context.strokeStyle = ground.card;
          context.stroke();
        }
      }
    }
    const path = lassoing || (state.lasso.length ? state.lasso : null);
    if (path) {
      context.beginPath();
      path.forEach(([x, y], i) => (i ? context.lineTo(x * side, y * side) : context.moveTo(x * side, y * side)));
      context.closePath();
      context.lineWidth = 1.5;
      context.setLineDash([5, 4]);
      context.strokeStyle = ink;
      context.stroke();
      context.setLineDash([]);
    }
    if (cursor >= 0) {
      context.beginPath();
      ring(cursor, 9);
      context.lineWidth = 2.5;
      context.strokeStyle = ink;
      context.stroke();
    }
  }
  const ground = {};
  function readGround() {
    for (const name of ["ink", "accent", "warn", "card"]) ground[name] = resolved(`--${name}`);
  }
  // light-dark() is only resolved in a property that takes a colour.
  function resolved(name) {
    const probe = make("span");
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const colour = getComputedStyle(probe).color;
    probe.remove();
    return colour;
  }

  function nearestPoint(x, y, within) {
    let best = -1, least = within * within;
    for (let row = 0; row < rows; row++) {
      if (!mask[row] && !isExample(row)) continue;
      const dx = places[2 * row] - x, dy = places[2 * row + 1] - y, apart = dx * dx + dy * dy;
      if (apart < least) [best, least] = [row, apart];
    }
    return best;
  }

  function inside(path, x, y) {
    let is = false;
    for (let i = 0, j = path.length - 1; i < path.length; j = i++) {
      const [xi, yi] = path[i], [xj, yj] = path[j];
      if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) is = !is;
    }
    return is;
  }

  function selectWithin(path) {
    const selected = new Uint8Array(rows);
    for (let row = 0; row < rows; row++) selected[row] = inside(path, places[2 * row], places[2 * row + 1]) ? 1 : 0;
    return selected;
  }

  const pointOf = (event) => {
    const box = overlay.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  overlay.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    overlay.setPointerCapture(event.pointerId);
    lassoing = [pointOf(event)];
  });
  overlay.addEventListener("pointermove", (event) => {
    const at = pointOf(event);
    if (lassoing) {
      lassoing.push(at);
      drawOverlay();
    } else preview(nearestPoint(at[0], at[1], 12 / side));
  });
  overlay.addEventListener("pointerup", (event) => {
    if (!lassoing) return;
    const path = lassoing;
    lassoing = null;
    const [x, y] = pointOf(event);
    const reach = Math.max(...path.map(([px, py]) => Math.hypot(px - path[0][0], py - path[0][1])));
    if (reach * side < 5) {
      const row = nearestPoint(x, y, 14 / side);
      if (row >= 0) takeAsQuery(row);
      else drawOverlay();
      return;
    }
    // A link has room for some corners only.
    const step = Math.max(1, Math.ceil(path.length / 60));
    const kept_ = path.filter((_, i) => i % step === 0).map((point) => point.map((value) => Math.round(value * 1000) / 1000));
    change({ lasso: kept_, selected: selectWithin(kept_) });
  });
  overlay.addEventListener("pointercancel", () => {
    lassoing = null;
    drawOverlay();
  });
  overlay.addEventListener("pointerleave", () => !lassoing && cursor < 0 && preview(-1));
  overlay.addEventListener("blur", () => {
    cursor = -1;
    drawOverlay();
  });

  let previewed = -1, looking = 0;
  function preview(row, aloud) {
    if (row === previewed) return;
    previewed = row;
    const box = $("preview");
    box.replaceChildren();
    if (row < 0) return;
    const text = describe(row);
    clearTimeout(looking);
    // A pointer that crosses the map asks a server for what it rests at only.
    if (pictured && served) looking = setTimeout(() => box.prepend(picture(row)), 80);
    else if (pictured) box.append(picture(row));
    box.append(make("span", "", pictured ? text : `${data.texts[row]} — ${text}`));
    if (aloud) $("status").textContent = text;
  }

  /** The nearest point in a direction: not far to the side of it. */
  function neighbourOf(row, dx, dy) {
    let best = -1, least = Infinity;
    for (let other = 0; other < rows; other++) {
      if (!mask[other] && !isExample(other)) continue;
      const x = places[2 * other] - places[2 * row], y = places[2 * other + 1] - places[2 * row + 1];
      const along = x * dx + y * dy, aside = Math.abs(x * dy) + Math.abs(y * dx);
      // A step of some width, or one would crawl through thousands of points.
      if (along < 0.012 || aside > 1.2 * along) continue;
      const cost = along + 2 * aside;
      if (cost < least) [best, least] = [other, cost];
    }
    return best;
  }

  overlay.addEventListener("keydown", (event) => {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (ways[event.key]) {
      const from = cursor >= 0 ? cursor : state.like.length && state.like[0] < rows ? state.like[0] : nearestPoint(0.5, 0.5, 2);
      const to = cursor < 0 ? from : neighbourOf(from, ...ways[event.key]);
      if (to >= 0) cursor = to;
      preview(cursor, true);
      drawOverlay();
    } else if (event.key === "Enter" && cursor >= 0) takeAsQuery(cursor);
    else if (event.key === " " && cursor >= 0) {
      const [x, y] = [places[2 * cursor], places[2 * cursor + 1]];
      const apart = new Float32Array(rows);
      for (let row = 0; row < rows; row++) apart[row] = -Math.hypot(places[2 * row] - x, places[2 * row + 1] - y);
      const some = top(apart, new Uint8Array(rows).fill(1), Math.min(50, rows));
      const radius = -apart[some[some.length - 1]] + 0.002;
      const path = Array.from({ length: 32 }, (_, i) => [x + radius * Math.cos((i * Math.PI) / 16), y + radius * Math.sin((i * Math.PI) / 16)].map((v) => Math.round(v * 1000) / 1000));
      change({ lasso: path, selected: selectWithin(path) });
    } else if (event.key === "Escape") change({ lasso: [], selected: null });
    else return;
    event.preventDefault();
  });
  $("unselect").addEventListener("click", () => {
    change({ lasso: [], selected: null });
    overlay.focus();
  });

  // All together -------------------------------------------------------------------------------

  function change(values, isMap) {
    Object.assign(state, values);
    if (values.order === undefined && !isMap && (values.like || values.unlike)) state.order = "near";
    refresh();
  }

  function refresh() {
    const place = document.activeElement;
    const lost = place && $("query").contains(place);
    queryChanged();
    drawMix();
    drawFilters();
    $("order").value = state.order;
    $("map-space").value = String(state.map.space);
    if (colourable[state.map.colour]) $("map-colour").value = colourable[state.map.colour].name;
    $("unselect").hidden = state.selected === null;
    if (state.selected) $("unselect").textContent = `Drop selection (${counted(state.selected.reduce((a, b) => a + b, 0), "row")})`;
    rank();
    drawMap();
    if (lost) ($("query").querySelector("button") || $("grid-title")).focus();
  }

  // The link -----------------------------------------------------------------------------------

  function toHash() {
    const words = new URLSearchParams();
    const numbers = (list) => list.map((row) => ids[row]).join(".");
    if (state.like.length) words.set("like", numbers(state.like));
    if (state.unlike.length) words.set("unlike", numbers(state.unlike));
    if (state.asked) words.set("middle", JSON.stringify([state.asked.column.name, state.asked.option.name]));
    if (state.mix.some((weight) => weight !== EQUAL)) words.set("mix", state.mix.join("."));
    if (state.filters.size) {
      const told_ = [...state.filters].map(([column, f]) => [column.name, column.values ? [f.low, f.high].map((end) => (Number.isFinite(end) ? end : null)) : [...f.names], f.blank]);
      words.set("only", JSON.stringify(told_));
    }
    if (state.order !== "near") words.set("order", state.order);
    if (state.count !== 24) words.set("show", String(state.count));
    const usual = start().map;
    if (JSON.stringify(usual) !== JSON.stringify(state.map)) {
      words.set("map", JSON.stringify([spaces[state.map.space], state.map.kind, colourable[state.map.colour] ? colourable[state.map.colour].name : ""]));
    }
    if (state.lasso.length) words.set("lasso", state.lasso.map((point) => point.join("_")).join(".."));
    return words.toString();
  }

  /** A link is a stranger's too: what is no row, column or label of this page is left out, and nothing is believed. */
  function fromHash(text) {
    const found = start(), words = new URLSearchParams(text);
    const json = (key) => {
      try {
        return JSON.parse(words.get(key) || "null");
      } catch {
        return null;
      }
    };
    const numbers = (key) => [...new Set((words.get(key) || "").split(".").filter((word) => /^\d{1,9}$/.test(word)).map(Number))]
      .filter((id) => rowOf.has(id)).slice(0, 100).map((id) => rowOf.get(id));
    found.like = numbers("like");
    found.unlike = numbers("unlike").filter((row) => !found.like.includes(row));
    const middle = json("middle");
    if (Array.isArray(middle) && !found.like.length) {
      const column = askable.find((other) => other.name === middle[0]);
      const chosen = column && optionNamed(column, middle[1]);
      if (chosen) found.asked = { column, option: chosen };
    }
    const mix = (words.get("mix") || "").split(".");
    if (mix.length === spaces.length && mix.every((word) => /^\d{1,3}$/.test(word) && Number(word) <= 100)) found.mix = mix.map(Number);
    const only = json("only");
    for (const told_ of Array.isArray(only) ? only.slice(0, columns.length) : []) {
      if (!Array.isArray(told_) || !Array.isArray(told_[1])) continue;
      const column = filterable.find((other) => other.name === told_[0]);
      if (!column) continue;
      if (column.values) {
        const [low, high] = told_[1].map((end) => (typeof end === "number" && Number.isFinite(end) ? end : null));
        if (low != null || high != null) found.filters.set(column, { low: low ?? -Infinity, high: high ?? Infinity, blank: told_[2] === true });
      } else {
        const names = told_[1].filter((name) => typeof name === "string" && optionNamed(column, name));
        const codes = new Set(names.flatMap((name) => [...optionNamed(column, name).codes]));
        if (names.length || told_[2] === true) found.filters.set(column, { names: new Set(names), codes, blank: told_[2] === true });
      }
    }
    const order = words.get("order") || "near";
    if ([...$("order").options].some((other) => other.value === order)) found.order = order;
    const count = Number(words.get("show"));
    if ([24, 48, 72, 96, 120, 144, 168, 192, 216, 240].includes(count)) found.count = count;
    const map = json("map");
    if (Array.isArray(map)) {
      const space = spaces.indexOf(map[0]), colour = colourable.findIndex((column) => column.name === map[2]);
      if (space >= 0) found.map.space = space;
      if (colour >= 0) found.map.colour = colour;
      found.map.kind = map[1] === "pca" || !data.maps[found.map.space].tsne ? "pca" : "tsne";
    }
    const lasso = (words.get("lasso") || "").split("..").slice(0, 100).map((point) => point.split("_").map(Number));
    if (lasso.length > 2 && lasso.every((point) => point.length === 2 && point.every((value) => value >= -3 && value <= 3))) found.lasso = lasso;
    return found;
  }

  let written = "";
  function keep() {
    const text = toHash();
    if (text === written) return;
    written = text;
    try {
      history.replaceState(null, "", `#${text}`);
    } catch {
      // Some browsers forbid this to files on disk; the button still makes the link.
    }
  }

  async function restore() {
    const text = location.hash.slice(1);
    written = text;
    if (served) {
      const words = new URLSearchParams(text);
      const unknown = [words.get("like"), words.get("unlike")].flatMap((list) => (list || "").split(".").slice(0, 100))
        .filter((word) => /^\d{1,9}$/.test(word)).map(Number).filter((id) => id < data.total && !rowOf.has(id));
      if (unknown.length) await source.learn([...new Set(unknown)]);
      if (location.hash.slice(1) !== text) return;
    }
    state = fromHash(text);
    current = 0;
    if (state.lasso.length) {
      locate();
      state.selected = selectWithin(state.lasso);
    }
    refresh();
  }
  window.addEventListener("hashchange", () => location.hash.slice(1) !== written && restore());

  $("copy").addEventListener("click", async () => {
    const link = `${location.href.split("#")[0]}#${toHash()}`, button = $("copy");
    let words = "Link copied";
    try {
      await navigator.clipboard.writeText(link);
    } catch {
      location.hash = toHash();
      words = "Link is in the address bar";
    }
    $("status").textContent = words;
    button.textContent = words;
    setTimeout(() => (button.textContent = "Copy link"), 1600);
  });
  $("reset").addEventListener("click", () => {
    state = start();
    current = 0;
    $("filter-column").value = "";
    refresh();
  });

  function drawTheme() {
    $("theme").setAttribute("aria-pressed", String(isDark()));
    readGround();
  }
  $("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    drawTheme();
    drawMap();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    drawTheme();
    drawMap();
  });
  let resized = 0;
  window.addEventListener("resize", () => {
    cancelAnimationFrame(resized);
    resized = requestAnimationFrame(drawMap);
  });

  // New images ---------------------------------------------------------------------------------

  /** Pictures become the query: from a file, dropped anywhere on the page, or pasted. */
  async function upload(files) {
    const note = $("upload-note"), images = [], wrong = [];
    const say = (text) => ($("status").textContent = note.textContent = text);
    say(files.length > 1 ? `Reading ${files.length} pictures …` : "Reading the picture …");
    for (const file of [...files].slice(0, served.images)) {
      const told_ = file.size > served.bytes
        ? { message: `has more than ${served.bytes / 1e6} MB.` }
        : await post("upload", file, "application/octet-stream");
      if (told_.message === undefined) images.push({ name: told_.image, picture: told_.picture, file: file.name || "pasted" });
      else wrong.push(`${file.name || "pasted"}: ${told_.message}`);
    }
    if (files.length > served.images) wrong.push(`${files.length - served.images} more are left out: ${served.images} at a time.`);
    say(wrong.join(" "));
    if (images.length) change({ images, like: [], unlike: [], asked: null, order: "near" });
  }

  if (served && served.uploads) {
    const input = $("upload");
    $("upload-button").addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      if (input.files.length) upload([...input.files]);
      input.value = ""; // so that the same file can be taken again
    });
    const hasFiles = (event) => event.dataTransfer !== null && [...event.dataTransfer.types].includes("Files");
    let depth = 0;
    const dropping = (change_) => {
      depth = Math.max(depth + change_, 0);
      document.body.classList.toggle("dropping", depth > 0);
    };
    window.addEventListener("dragenter", (event) => hasFiles(event) && dropping(1));
    window.addEventListener("dragleave", (event) => hasFiles(event) && dropping(-1));
    window.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
    window.addEventListener("drop", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      dropping(-depth);
      if (event.dataTransfer.files.length) upload([...event.dataTransfer.files]);
    });
    window.addEventListener("paste", (event) => {
      const files = event.clipboardData ? [...event.clipboardData.files] : [];
      if (!files.length) return;
      event.preventDefault();
      upload(files);
    });
  }

  drawTheme();
  restore();
})();

// Which rows are nearest under a mix: in the page itself, for all rows that it holds.

/** Scale a vector to unit length. What is left where examples cancel out is rounding, and becomes zeros. */
export function toUnit(vector) {
  const length = Math.hypot(...vector);
  for (let d = 0; d < vector.length; d++) vector[d] = length > 1e-6 ? vector[d] / length : 0;
}

/** The rows of the highest scores, the highest first; of equal ones the earlier row. Only rows of the mask. */
export function top(scores, mask, count) {
  const best = [];
  let least = -Infinity;
  for (let row = 0; row < scores.length; row++) {
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

/** A mixed order of all rows, always the same. */
export function mixedOrder(rows) {
  const order = Array.from({ length: rows }, (_, row) => row);
  let seed = 7;
  for (let i = rows - 1; i > 0; i--) {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    const j = seed % (i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

export class LocalSource {
  /** spaces: one Int8Array a space, of rows * dim numbers; only the direction of a row matters. */
  constructor(spaces, rows, dim) {
    Object.assign(this, { spaces, rows, dim, scales: [], scores: new Float32Array(rows), query: null, parts: [] });
  }

  /** What makes each vector of a space a unit vector. */
  scale(c) {
    if (!this.scales[c]) {
      const vectors = this.spaces[c], scales = new Float32Array(this.rows);
      for (let row = 0, at = 0; row < this.rows; row++) {
        let sum = 0;
        for (let d = 0; d < this.dim; d++, at++) sum += vectors[at] * vectors[at];
        scales[row] = sum > 0 ? 1 / Math.sqrt(sum) : 0;
      }
      this.scales[c] = scales;
    }
    return this.scales[c];
  }

  /** unit(mean of like - mean of unlike) in one space, each times its weight; then moved, where a move is in this space. */
  target(c, query) {
    const target = new Float32Array(this.dim), scales = this.scale(c);
    for (const [examples, sign] of [[query.like, 1], [query.unlike, -1]]) {
      const mean = new Float32Array(this.dim);
      for (const row of examples) {
        const scale = (query.weights.get(row) ?? 1) * scales[row] / examples.length;
        for (let d = 0; d < this.dim; d++) mean[d] += scale * this.spaces[c][row * this.dim + d];
      }
      // The middle of a label is one example, however many rows it is the middle of.
      if (query.isMiddle && sign > 0) toUnit(mean);
      for (let d = 0; d < this.dim; d++) target[d] += sign * mean[d];
    }
    toUnit(target);
    for (const { rows, weights, space, amount } of query.towards) {
      if (space !== c) continue;
      const goal = new Float32Array(this.dim);
      rows.forEach((row, i) => {
        for (let d = 0; d < this.dim; d++) goal[d] += weights[i] * scales[row] * this.spaces[c][row * this.dim + d];
      });
      toUnit(goal);
      for (let d = 0; d < this.dim; d++) target[d] = (1 - amount) * target[d] + amount * goal[d];
      toUnit(target);
    }
    return target;
  }

  /** Score of every row in every space: the cosine to the target. Once a query. */
  prepare(query) {
    if (this.query === query) return;
    this.query = query;
    this.parts = this.spaces.map((vectors, c) => {
      const target = this.target(c, query), scales = this.scale(c), part = new Float32Array(this.rows);
      for (let row = 0, at = 0; row < this.rows; row++) {
        let sum = 0;
        for (let d = 0; d < this.dim; d++, at++) sum += target[d] * vectors[at];
        part[row] = sum * scales[row];
      }
      return part;
    });
  }

  /**
   * The rows with the highest weighted mean of scores, of those that the mask lets through.
   * request: {query: {like, unlike, weights, towards, isMiddle}, weights, mask, count} -> {rows, scores, parts: one list a space}.
   */
  rank({ query, weights, mask, count }) {
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    if (!(total > 0)) return { rows: [], scores: [], parts: this.spaces.map(() => []) };
    this.prepare(query);
    const scores = this.scores.fill(0);
    weights.forEach((weight, c) => {
      if (weight === 0) return;
      const part = this.parts[c], share = weight / total;
      for (let row = 0; row < this.rows; row++) scores[row] += share * part[row];
    });
    const rows = top(scores, mask, count);
    return {
      rows,
      scores: rows.map((row) => scores[row]),
      parts: this.parts.map((part) => rows.map((row) => part[row])),
    };
  }
}

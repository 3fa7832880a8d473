// Moves: the query moves along a column, in the space of its similarity alone. What it moves towards is the mean of rows
// with weights. A move is {column, amount} and one of option (a label), near (a number) and to ("higher" or "lower").

import { weightOf } from "./agreement.mjs";
import { isMissing, short } from "./labels.mjs";

export const RELATIVE = ["higher", "lower"];

/** Words that a column can move towards beside its labels. */
export const wordsFor = (column) => [...(column.line ? RELATIVE : []), ...(column.alike && column.alike.width !== undefined ? ["near"] : [])];

export const moveText = ({ column, option, near, to }) => (option ? `${column.name}: ${option.name}` : to ? `${column.name} ${to}` : `${column.name} near ${short(near)}`);

/** Ranks from 1, of equal values their mean. */
export function ranksOf(values) {
  const order = values.map((_, i) => i).sort((a, b) => values[a] - values[b]), ranks = [];
  for (let start = 0, end = 0; start < order.length; start = end) {
    while (end < order.length && values[order[end]] === values[order[start]]) end++;
    for (let i = start; i < end; i++) ranks[order[i]] = (start + 1 + end) / 2;
  }
  return ranks;
}

/** The rows that a move is towards, and how much each counts: {rows, weights}. None where there is nothing to move to. */
export function targetOf({ column, option, near, to }, count) {
  const rows = Array.from({ length: count }, (_, row) => row).filter((row) => !isMissing(column, row));
  const valueOf = (row) => (column.values || column.codes)[row];
  if (option) {
    const some = rows.filter((row) => option.codes.has(valueOf(row)));
    return { rows: some, weights: some.map(() => 1) };
  }
  if (to) {
    const sign = to === "higher" ? 1 : -1, ranks = ranksOf(rows.map(valueOf));
    return { rows, weights: ranks.map((rank) => sign * (rank - (rows.length + 1) / 2)) };
  }
  const weights = rows.map((row) => weightOf(column, near, valueOf(row)));
  return { rows, weights: Math.max(0, ...weights) < 0.005 ? weights.map(() => 0) : weights };
}

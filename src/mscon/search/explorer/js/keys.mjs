// Keys: where one leads.

export const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Of `count` results, `across` in a line, the one that a key leads to from `at`; at itself at an edge, -1 for other keys. */
export function stepTo(key, at, count, across) {
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, Home: -at, End: count - 1 - at }[key];
  if (step === undefined) return -1;
  return at + step >= 0 && at + step < count ? at + step : at;
}

/** The sign of an example that a key adds: "like", "unlike" or null. */
export function exampleSign(key) {
  if (key === "+" || key === "=") return "like";
  return key === "-" || key === "−" ? "unlike" : null;
}

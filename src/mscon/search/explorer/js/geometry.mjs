// Points of the map: places are x and y of each row in turn, in the unit square.

/** Whether a point lies inside a closed path of [x, y]. */
export function isInside(path, x, y) {
  let inside = false;
  for (let i = 0, j = path.length - 1; i < path.length; j = i++) {
    const [xi, yi] = path[i], [xj, yj] = path[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

/** 1 for each row inside a path. */
export function selectWithin(places, path) {
  return Uint8Array.from({ length: places.length / 2 }, (_, row) => (isInside(path, places[2 * row], places[2 * row + 1]) ? 1 : 0));
}

/** The row nearest to a point, at most `reach` away; -1 if there is none. */
export function nearestPoint(places, x, y, reach, isShown) {
  let best = -1, least = reach * reach;
  for (let row = 0; 2 * row < places.length; row++) {
    if (!isShown(row)) continue;
    const dx = places[2 * row] - x, dy = places[2 * row + 1] - y, apart = dx * dx + dy * dy;
    if (apart < least) [best, least] = [row, apart];
  }
  return best;
}

/** The nearest point in a direction: not far to the side of it. */
export function neighbourOf(places, row, [dx, dy], isShown) {
  let best = -1, least = Infinity;
  for (let other = 0; 2 * other < places.length; other++) {
    if (!isShown(other)) continue;
    const x = places[2 * other] - places[2 * row], y = places[2 * other + 1] - places[2 * row + 1];
    const along = x * dx + y * dy, aside = Math.abs(x * dy) + Math.abs(y * dx);
    // A step of some width, or one would crawl through thousands of points.
    if (along < 0.012 || aside > 1.2 * along) continue;
    const cost = along + 2 * aside;
    if (cost < least) [best, least] = [other, cost];
  }
  return best;
}

const rounded = (point) => point.map((value) => Math.round(value * 1000) / 1000);

/** A path with fewer corners: a link has room for some only. */
export function thinned(path, most = 60) {
  const step = Math.max(1, Math.ceil(path.length / most));
  return path.filter((_, i) => i % step === 0).map(rounded);
}

/** A circle around a row that the `count` nearest points are in. */
export function circleAround(places, row, count) {
  const [x, y] = [places[2 * row], places[2 * row + 1]];
  const apart = Array.from({ length: places.length / 2 }, (_, other) => Math.hypot(places[2 * other] - x, places[2 * other + 1] - y));
  // The sides of the polygon, too, must lie outside the farthest of them.
  const radius = [...apart].sort((a, b) => a - b)[Math.min(count, apart.length) - 1] / Math.cos(Math.PI / 32) + 0.002;
  return Array.from({ length: 32 }, (_, i) => rounded([x + radius * Math.cos((i * Math.PI) / 16), y + radius * Math.sin((i * Math.PI) / 16)]));
}

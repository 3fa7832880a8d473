// The beginning: the view of the link, the link of the view, and the buttons at the top.

import { app, data, refresh, server, source } from "./app.mjs";
import { $ } from "./dom.mjs";
import { selectWithin } from "./geometry.mjs";
import { fromHash, idsIn, startOf, toHash } from "./link.mjs";
import { drawMap, isDark, locate, readGround } from "./map.mjs";
import { spokenResults, toFirst } from "./results.mjs";
import { acceptRows } from "./entering.mjs";
import { offerMoves } from "./moving.mjs";
import { acceptUploads } from "./uploads.mjs";
import "./controls.mjs";
import "./finding.mjs";

const address = { text: "", timer: 0, frame: 0 };

function keepAddress() {
  const text = toHash(app.state, data);
  if (text === address.text) return;
  address.text = text;
  try {
    history.replaceState(null, "", `#${text}`);
  } catch {
    // Some browsers forbid this to files on disk; the button still makes the link.
  }
}

/** Say the results and keep the address once the view rests: neither belongs in the move of a slider. */
export function viewRested() {
  clearTimeout(address.timer);
  address.timer = setTimeout(() => {
    $("status").textContent = spokenResults();
    keepAddress();
  }, 300);
}

async function restore() {
  const text = (address.text = location.hash.slice(1));
  if (server) {
    const words = new URLSearchParams(text);
    const unknown = [...idsIn(words, "like"), ...idsIn(words, "unlike")].filter((id) => id < data.total && !data.rowOf.has(id));
    if (unknown.length) await source.learn({ rows: [...new Set(unknown)] });
    if (location.hash.slice(1) !== text) return;
  }
  app.state = fromHash(text, data);
  toFirst();
  if (app.state.lasso.length) app.state.selected = selectWithin(locate(), app.state.lasso);
  refresh();
}
window.addEventListener("hashchange", () => location.hash.slice(1) !== address.text && restore());

$("copy").addEventListener("click", async () => {
  const hash = toHash(app.state, data), button = $("copy");
  let words = "Link copied";
  try {
    await navigator.clipboard.writeText(`${location.href.split("#")[0]}#${hash}`);
  } catch {
    location.hash = hash;
    words = "Link is in the address bar";
  }
  $("status").textContent = button.textContent = words;
  setTimeout(() => (button.textContent = "Copy link"), 1600);
});
$("reset").addEventListener("click", () => {
  app.state = startOf(data);
  toFirst();
  $("filter-column").value = "";
  $("words").value = "";
  refresh();
});

function drawTheme() {
  $("theme").setAttribute("aria-pressed", String(isDark()));
  readGround();
}
function themeChanged() {
  drawTheme();
  drawMap();
}
$("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  themeChanged();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", themeChanged);
window.addEventListener("resize", () => {
  cancelAnimationFrame(address.frame);
  address.frame = requestAnimationFrame(drawMap);
});

if (server && server.uploads) acceptUploads();
else if (server) acceptRows();
offerMoves();
drawTheme();
restore();

// New images as the query, of a page that is served: from a file, dropped anywhere on the page, or pasted.

import { change, server } from "./app.mjs";
import { $ } from "./dom.mjs";
import { post } from "./remote.mjs";

async function upload(files) {
  const note = $("upload-note"), newRows = [], faults = [];
  const say = (text) => ($("status").textContent = note.textContent = text);
  say(files.length > 1 ? `Reading ${files.length} pictures …` : "Reading the picture …");
  for (const file of [...files].slice(0, server.new)) {
    const answer = file.size > server.bytes
      ? { message: `has more than ${server.bytes / 1e6} MB.` }
      : await post("upload", file, "application/octet-stream");
    if (answer.message === undefined) newRows.push({ name: answer.new, picture: answer.picture, words: file.name || "pasted" });
    else faults.push(`${file.name || "pasted"}: ${answer.message}`);
  }
  if (files.length > server.new) faults.push(`${files.length - server.new} more are left out: ${server.new} at a time.`);
  say(faults.join(" "));
  if (newRows.length) change({ newRows, like: [], unlike: [], middle: null, order: "near" });
}

export function acceptUploads() {
  const input = $("upload");
  $("upload-button").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    if (input.files.length) upload([...input.files]);
    input.value = ""; // so that the same file can be taken again
  });
  const hasFiles = (event) => event.dataTransfer !== null && [...event.dataTransfer.types].includes("Files");
  let depth = 0;
  const dropping = (step) => {
    depth = Math.max(depth + step, 0);
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

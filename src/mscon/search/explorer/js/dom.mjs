// Pieces of page. Texts of the table (labels, columns, file names) are strangers': they only ever become text nodes,
// values and attributes, never markup.

export const $ = (id) => document.getElementById(id);

export function make(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}

/** A button with an action. */
export function makeButton(name, text, act) {
  const button = make("button", name, text);
  button.type = "button";
  if (act) button.addEventListener("click", act);
  return button;
}

export function makeOption(value, text) {
  const node = make("option", "", text);
  node.value = value;
  return node;
}

/** Change a text node only if it says something else: a slider rewrites hundreds at once. */
export function write(text, value) {
  if (text.data !== value) text.data = value;
}

// What every part of the page uses: nodes, words for the reader, numbers. Text goes in by textContent alone.

export const byId = (id) => document.getElementById(id);

export function put(node, text) {
  const said = String(text);
  if (node.textContent !== said) node.textContent = said;
}

export function make(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

export function pill(id, text, tone) {
  const node = byId(id);
  put(node.querySelector("dd"), text);
  node.querySelector("dd").title = text;
  if (tone) node.dataset.tone = tone;
  else delete node.dataset.tone;
}

export function notice(text) {
  put(byId("notice").querySelector("p"), text);
  byId("notice").hidden = false;
}

export function say(text) {
  byId("said").textContent = text;
}

export const finite = (value) => (Number.isFinite(value) ? value : 0);
// Three figures are enough: 840 Wh, 1.24 kWh, 24.5 kWh.
export function inKilo(value, unit) {
  if (Math.abs(value) < 1000) return `${Math.round(value)} ${unit}`;
  return `${(value / 1000).toFixed(Math.abs(value) < 10_000 ? 2 : 1)} k${unit}`;
}

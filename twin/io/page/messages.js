// The messages: a list with the newest first, a filter, a pause; a message opens to its text.

import { byId, make, put } from "./common.js";

const MOST_ROWS = 300;
const MOST_WAITING = 1000; // behind a pause

let lastSeq = -1;
let paused = false;
let waiting = [];
let dropped = 0;
let rows = []; // newest first: node, what the filter looks at

export function forget() {
  lastSeq = -1;
  rows = [];
  waiting = [];
  dropped = 0;
  byId("list").replaceChildren();
  countDropped(0);
}

export function takeMessages(entries) {
  const fresh = entries.filter((entry) => entry.seq > lastSeq);
  if (fresh.length) lastSeq = fresh[fresh.length - 1].seq;
  if (paused) {
    waiting.push(...fresh);
    countDropped(Math.max(0, waiting.length - MOST_WAITING));
    waiting = waiting.slice(-MOST_WAITING);
  } else if (fresh.length) {
    addRows(fresh);
  }
  tellShown();
}

export function countDropped(more) {
  dropped += more;
  byId("dropped").hidden = dropped === 0;
  const missing = dropped === 1 ? "1 message is" : `${dropped} messages are`;
  put(byId("dropped"), `${missing} missing here: more came than this page could take.`);
}

function addRows(entries) {
  const added = entries.slice(-MOST_ROWS).map(newRow).reverse();
  rows = [...added, ...rows];
  byId("list").prepend(...added.map((row) => row.node));
  for (const row of rows.splice(MOST_ROWS)) row.node.remove();
  filterRows(added);
}

function newRow(entry) {
  const node = make("li");
  const head = make("button");
  head.type = "button";
  head.setAttribute("aria-expanded", "false");
  const toCsms = entry.sender === "station";
  const way = make("span", "way");
  way.dataset.sender = entry.sender;
  const arrow = make("span", "", toCsms ? "→" : "←");
  arrow.setAttribute("aria-hidden", "true");
  way.append(arrow, make("span", "unseen", toCsms ? "to the CSMS" : "from the CSMS"));
  way.title = toCsms ? "station to CSMS" : "CSMS to station";
  const what = make("span", "what");
  what.append(make("b", "", entry.action || "(no action)"));
  what.dataset.kind = entry.kind;
  what.title = entry.action || "";
  if (entry.kind !== "call") what.append(make("i", "", entry.kind));
  const took = make("span", "took", inTime(entry.round_trip_ms));
  const stamp = new Date(entry.at_us / 1000).toISOString();
  const when = make("time", "", stamp.slice(11, 19));
  when.append(make("span", "", stamp.slice(19, 23)));
  head.append(when, way, what, took);
  const findings = entry.findings || [];
  if (findings.length) {
    const marks = make("span", "marks");
    marks.append(...findings.map(newMark));
    head.append(marks);
  }
  head.addEventListener("click", () => expand(node, head, entry));
  node.append(head);
  const words = [entry.action, ...findings.map((finding) => finding.rule)].join("\n").toLowerCase();
  return { node, words };
}

function inTime(ms) {
  if (!Number.isFinite(ms)) return "";
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

function newMark(finding) {
  const mark = make("span", "mark", `${finding.severity} ${finding.rule}`);
  mark.dataset.severity = finding.severity;
  return mark;
}

function expand(node, head, entry) {
  const open = head.getAttribute("aria-expanded") === "true";
  head.setAttribute("aria-expanded", String(!open));
  if (open) {
    node.lastChild.remove();
    return;
  }
  const more = make("div", "more");
  for (const finding of entry.findings || []) {
    const line = make("p");
    line.append(newMark(finding), make("span", "", `: ${finding.message}`));
    more.append(line);
  }
  const text = make("pre", "", entry.text);
  text.tabIndex = 0;
  text.setAttribute("aria-label", "Text of the message");
  more.append(text);
  const shown = entry.text.length;
  const cut = entry.length > shown ? `; the first ${shown} of ${entry.length} characters` : "";
  more.append(make("p", "soft", `Frame ${entry.seq}, message id ${entry.message_id}${cut}`));
  node.append(more);
}

function filterRows(some) {
  const wanted = byId("filter").value.trim().toLowerCase();
  for (const row of some) row.node.hidden = !row.words.includes(wanted);
  tellShown();
}

function tellShown() {
  const shown = rows.filter((row) => !row.node.hidden).length;
  const behind = paused && waiting.length ? `, ${waiting.length} waiting` : "";
  put(byId("shown"), rows.length ? `${shown} of ${rows.length}${behind}` : behind.slice(2));
  byId("none").hidden = shown > 0;
  put(byId("none"), rows.length ? "No message fits the filter." : "No message yet.");
}

function togglePause() {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  put(byId("pause"), paused ? "Go on" : "Pause");
  if (!paused) {
    addRows(waiting);
    waiting = [];
  }
  tellShown();
}

byId("filter").addEventListener("input", () => filterRows(rows));
byId("filter").addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  byId("filter").value = "";
  filterRows(rows);
});
byId("pause").addEventListener("click", togglePause);

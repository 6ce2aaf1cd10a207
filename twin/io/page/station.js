// The station page: the connection to the station, the header, the reader, and what ties the parts together.

import { byId, finite, inKilo, make, notice, pill, put, say } from "./common.js";
import { countDropped, forget, takeMessages } from "./messages.js";
import { seen, sendThrough, showTiles, tileKey } from "./tiles.js";

const MOST_TAGS = 5;
const LONGEST_WAIT_MS = 5000;

// ── the wire ──────────────────────────────────────────────────────────────────────────────────

let socket = null;
let waitMs = 250;
let timer = 0;
let failures = 0;
let run = "";

function connect() {
  clearTimeout(timer);
  timer = 0;
  tellPage("wait", failures ? "reconnecting" : "connecting");
  socket = new WebSocket(`ws://${location.host}/live${location.search}`);
  socket.onopen = () => {
    waitMs = 250;
    failures = 0;
    tellPage("good", "live");
    document.body.classList.remove("stale");
    byId("lost").hidden = true;
  };
  socket.onmessage = (event) => take(JSON.parse(event.data));
  socket.onclose = () => {
    failures += 1;
    document.body.classList.add("stale");
    tellPage("bad", "not connected");
    const again = failures > 4 ? " If twin was started again, open the address that it printed." : "";
    put(byId("lost"), `What is shown is old: the page has lost the station and keeps trying.${again}`);
    byId("lost").hidden = false;
    timer = setTimeout(connect, waitMs);
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
  };
}

function tellPage(tone, text) {
  pill("page-pill", text, tone);
}

// Whether it was sent; what comes of it is in the next push.
function act(what) {
  if (!socket || socket.readyState !== WebSocket.OPEN) {
    notice("Not sent: the page has no connection to the station.");
    return false;
  }
  socket.send(JSON.stringify(what));
  return true;
}

function take(push) {
  if (push.run && push.run !== run) {
    if (run) forget();
    run = push.run;
  }
  if (push.error_codes) fillErrorCodes(push.error_codes);
  if (push.state) showState(push.state);
  if (push.dropped) countDropped(push.dropped);
  for (const text of push.errors || []) notice(text);
  takeMessages(push.messages || []);
}

// ── the state ────────────────────────────────────────────────────────────────────────────────

let state = null;

function showState(next) {
  const before = state;
  state = next;
  const powered = next.powered;
  put(byId("station"), next.station);
  put(byId("csms"), next.csms);
  byId("station").title = next.station;
  byId("csms").title = next.csms;
  document.title = `${String(next.station).slice(0, 60)} · station`;
  const link = next.network ? (next.online ? "online" : "offline") : "cut";
  pill("link-pill", link, next.online ? "good" : "bad");
  pill("registration-pill", next.registration, next.registration === "Accepted" ? "good" : "wait");
  pill("power-pill", powered ? "on" : "off", powered ? "good" : "bad");
  pill("queue-pill", next.queue === 1 ? "1 message" : `${next.queue} messages`, next.queue ? "wait" : "");
  const watts = next.connectors.reduce((sum, one) => sum + finite(one.power_w), 0);
  const charging = next.connectors.filter((one) => one.status === "Charging").length;
  pill("load-pill", `${inKilo(watts, "W")}, ${charging} charging`, "");
  put(byId("power"), powered ? "Power off" : "Power on");
  put(byId("link"), next.network ? "Cut link" : "Restore link");
  showTiles(next.connectors, powered);
  announce(before, next, link);
}

function announce(before, next, link) {
  if (!before) return;
  const news = [];
  if (before.powered !== next.powered) news.push(`Power ${next.powered ? "on" : "off"}`);
  if (before.online !== next.online || before.network !== next.network) news.push(`Link ${link}`);
  if (before.registration !== next.registration) news.push(`Registration ${next.registration}`);
  const old = new Map(before.connectors.map((one) => [one.id, one]));
  const changed = next.connectors.filter((one) => {
    const was = old.get(one.id);
    return was && seen(was, before.powered) !== seen(one, next.powered);
  });
  if (changed.length <= 3) {
    for (const one of changed) news.push(`Connector ${one.id} ${seen(one, next.powered)}`);
  } else {
    news.push(`${changed.length} connectors changed`);
  }
  if (news.length) say(`${news.join(". ")}.`);
}

// ── the reader ───────────────────────────────────────────────────────────────────────────────

function fillErrorCodes(codes) {
  const chosen = byId("error-code").value;
  byId("error-code").replaceChildren(...codes.map((code) => make("option", "", code)));
  byId("error-code").value = codes.includes(chosen) ? chosen : codes[0];
}

let tags = [];

function present(tag) {
  if (!act({ do: "tag", tag })) return;
  say(`${tag} presented.`);
  tags = [tag, ...tags.filter((other) => other !== tag)].slice(0, MOST_TAGS);
  showTags();
  try {
    sessionStorage.setItem("tags", JSON.stringify(tags));
  } catch {
    // a browser that stores nothing: they last as long as the page
  }
}

function showTags() {
  if (!tags.length) return;
  const held = document.activeElement?.dataset?.tag;
  byId("tags").replaceChildren(
    ...tags.map((tag) => {
      const item = make("li");
      const again = make("button", "", tag);
      again.type = "button";
      again.dataset.tag = tag;
      again.setAttribute("aria-label", `${tag}: present it again`);
      again.addEventListener("click", () => present(tag));
      item.append(again);
      return item;
    }),
  );
  if (held !== undefined) byId("tags").querySelector(`[data-tag="${CSS.escape(held)}"]`)?.focus();
}

function recallTags() {
  try {
    const held = JSON.parse(sessionStorage.getItem("tags") || "[]");
    tags = held.filter((tag) => typeof tag === "string").slice(0, MOST_TAGS);
  } catch {
    tags = [];
  }
  showTags();
}

// ── what ties it together ────────────────────────────────────────────────────────────────────

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest("input, select")) return;
  if (event.key === "/") {
    byId("filter").focus();
    byId("filter").select();
    event.preventDefault();
    return;
  }
  const root = event.target.closest(".tile");
  if (root && (!event.repeat || event.key.startsWith("Arrow"))) tileKey(event, root);
});

byId("reader").addEventListener("submit", (event) => {
  event.preventDefault();
  const tag = byId("tag").value.trim();
  if (tag) present(tag);
});
byId("car").addEventListener("submit", (event) => event.preventDefault());
byId("power").addEventListener("click", () => state && act({ do: state.powered ? "power off" : "power on" }));
byId("link").addEventListener("click", () => state && act({ do: state.network ? "link down" : "link up" }));
byId("notice").querySelector("button").addEventListener("click", () => {
  byId("notice").hidden = true;
  byId("station").focus();
});
// A laptop that wakes up does not wait for the timer.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && timer) connect();
});

sendThrough(act);
recallTags();
connect();

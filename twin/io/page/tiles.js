// The connectors: a tile each, its buttons, and the keys that work on it.

import { byId, finite, inKilo, make, put } from "./common.js";

const SVG = "http://www.w3.org/2000/svg";

// Status: tone, symbol on a grid of 16, whether the symbol is filled.
const RING = "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11z";
const STATUS = {
  Available: ["good", RING],
  Preparing: ["wait", RING + "M8 5v3l2 1.4"],
  Charging: ["busy", "M9.2 1.5 3.5 9H8l-1.2 5.5L12.5 7H8z", true],
  SuspendedEV: ["wait", "M5.5 3.5v9M10.5 3.5v9"],
  SuspendedEVSE: ["wait", "M4 4h8v8H4z"],
  Finishing: ["good", "M3 8.5 6.5 12 13 4.5"],
  Reserved: ["wait", "M4.5 2.5h7v11L8 10.5l-3.5 3z"],
  Unavailable: ["idle", RING + "M4.2 4.2l7.6 7.6"],
  Faulted: ["bad", "M8 2l6.5 11.5h-13zM8 6.5v3M8 11.6v.1"],
  "No power": ["idle", "M8 1.8v5.5M4.7 4.2a5 5 0 1 0 6.6 0"],
};

const VALUES = { car: "Car", power: "Power", current: "Current", tx: "Transaction", tag: "idTag" };
const NAMES = {
  Plug: "Plug a car in at",
  Unplug: "Unplug the car of",
  Fault: "Fault on",
  Clear: "Clear the fault of",
};

const tiles = new Map(); // connector id to its nodes
let act = () => false;

// `send` is told what a tile asks for, as an Act.
export function sendThrough(send) {
  act = send;
}

export const seen = (one, powered) => (powered ? String(one.status) : "No power");

export function showTiles(connectors, powered) {
  const ids = connectors.map((one) => one.id);
  if (ids.join() !== [...tiles.keys()].join()) {
    tiles.clear();
    byId("tiles").replaceChildren(...ids.map(newTile));
  }
  for (const one of connectors) showTile(tiles.get(one.id), one, powered);
}

function newTile(id) {
  const root = make("article", "tile");
  root.tabIndex = 0;
  root.dataset.connector = id;
  const head = make("h3");
  const badge = make("span", "badge");
  const symbol = document.createElementNS(SVG, "svg");
  symbol.setAttribute("viewBox", "0 0 16 16");
  symbol.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  symbol.append(path);
  const status = make("span");
  badge.append(symbol, status);
  const number = make("b", "", id);
  number.id = `connector-${id}`;
  head.append(number, badge);
  const energy = make("p", "energy");
  const list = make("dl");
  const values = {};
  for (const [key, name] of Object.entries(VALUES)) {
    values[key] = make("dd");
    const row = make("div");
    row.append(make("dt", "", name), values[key]);
    list.append(row);
  }
  const buttons = make("div", "act");
  const plug = make("button");
  const fault = make("button");
  plug.type = fault.type = "button";
  plug.addEventListener("click", () => togglePlug(id));
  fault.addEventListener("click", () => toggleFault(id));
  buttons.append(plug, fault);
  root.append(head, energy, list, buttons);
  tiles.set(id, { root, path, status, energy, values, plug, fault, last: null, drawn: "" });
  return root;
}

function showTile(tile, one, powered) {
  tile.last = one;
  const status = seen(one, powered);
  const faulted = one.status === "Faulted";
  if (tile.drawn !== status) {
    tile.drawn = status;
    const [tone, symbol, full] = Object.hasOwn(STATUS, status) ? STATUS[status] : ["idle", RING];
    tile.root.dataset.tone = tone;
    tile.path.setAttribute("d", symbol);
    tile.path.setAttribute("class", full ? "full" : "");
    tile.root.setAttribute("aria-label", `Connector ${one.id}, ${status}`);
    put(tile.status, status);
    tile.status.title = status;
  }
  const held = one.plugged || one.transaction !== null;
  const energy = held ? inKilo(finite(one.energy_wh), "Wh") : "–";
  put(tile.energy, faulted ? one.error_code : energy);
  tile.energy.classList.toggle("code", faulted);
  tile.energy.title = `Meter ${(finite(one.register_wh) / 1000).toFixed(3)} kWh`;
  put(tile.values.car, one.plugged ? "plugged in" : "none");
  put(tile.values.power, held ? inKilo(finite(one.power_w), "W") : "–");
  put(tile.values.current, held ? `${finite(one.current_a).toFixed(1)} A` : "–");
  put(tile.values.tx, one.transaction === null ? "–" : one.transaction);
  put(tile.values.tag, one.id_tag === null ? "–" : one.id_tag);
  for (const key of ["tx", "tag"]) tile.values[key].title = tile.values[key].textContent;
  button(tile.plug, one.plugged ? "Unplug" : "Plug", one.id);
  button(tile.fault, faulted ? "Clear" : "Fault", one.id);
}

function button(node, text, id) {
  put(node, text);
  node.setAttribute("aria-label", `${text}: ${NAMES[text]} connector ${id}`);
}

function togglePlug(id) {
  if (tiles.get(id).last.plugged) {
    act({ do: "unplug", connector_id: id });
    return;
  }
  if (!byId("car").reportValidity()) return;
  act({ do: "plug", connector_id: id, car: nextCar() });
}

function nextCar() {
  const number = (name) => (byId(name).value === "" ? null : byId(name).valueAsNumber);
  return {
    power_w: number("power-w"),
    full_wh: number("full-wh"),
    taper_from_wh: number("taper-from-wh"),
    taper_s: number("taper-s"),
  };
}

function toggleFault(id) {
  if (tiles.get(id).last.status === "Faulted") act({ do: "clear", connector_id: id });
  else act({ do: "fault", connector_id: id, error_code: byId("error-code").value });
}

function columns() {
  const all = [...tiles.values()].map((tile) => tile.root);
  const count = all.findIndex((root) => root.offsetTop !== all[0].offsetTop);
  return count < 0 ? all.length : count;
}

export function tileKey(event, root) {
  const all = [...tiles.values()].map((tile) => tile.root);
  const place = all.indexOf(root);
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() };
  const to = { Home: 0, End: all.length - 1 };
  const next = Object.hasOwn(to, event.key) ? to[event.key] : place + (step[event.key] || 0);
  if (Object.hasOwn(step, event.key) || Object.hasOwn(to, event.key)) {
    all[next]?.focus();
  } else if (event.key === "p") {
    togglePlug(Number(root.dataset.connector));
  } else if (event.key === "f") {
    toggleFault(Number(root.dataset.connector));
  } else {
    return;
  }
  event.preventDefault();
}

// What both maps share: the map itself, text that is never HTML, and colours. Not here: what is drawn on it, what lies
// below (base.js), the address of what is seen (permalink.js).
import * as maplibregl from "./vendor/maplibre-gl.mjs";
import { underlay } from "./base.js";
import { cleared, follow, view } from "./permalink.js";

export const COLOURS = { done: [46, 125, 87], partly: [233, 180, 76], missing: [168, 176, 186], failed: [197, 58, 50] };
export const UNSCORED = [92, 148, 172];
export const { LngLatBounds, Marker } = maplibregl;
export const PHONE = matchMedia("(max-width: 640px)");
export const CALM = matchMedia("(prefers-reduced-motion: reduce)");

export const byId = id => document.getElementById(id);
export const rgb = parts => `rgb(${parts.map(Math.round).join(",")})`;

// An element with text, attributes and children; strings are text, so that a region's name cannot be a script.
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else if (name === "colour") made.style.background = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}

export function list(rows) {
  const made = element("dl");
  for (const [name, value] of rows) made.append(element("dt", {}, name), element("dd", {}, value instanceof Node ? value : String(value)));
  return made;
}

// A line of a legend: a colour, or a ramp of several, and what it means in words.
export function key(colour, text, kind = "") {
  return element("div", { class: "key" }, element("i", { class: kind, ...(colour ? { colour } : {}), "aria-hidden": "true" }), element("span", {}, text));
}

export function show(closed, ...children) {
  const box = byId("details");
  const close = () => { box.hidden = true; closed?.(); };
  box.replaceChildren(element("button", { class: "close", "aria-label": "close", onclick: close }, "×"), ...children);
  box.hidden = false;
  folded();
}

// On a phone the map comes first, and a panel when it is asked for.
function folded() {
  if (PHONE.matches) for (const panel of document.querySelectorAll("#side details")) panel.open = false;
}

export async function ask(path) {
  return (await asked(path)).data;
}

// What an address gives, and the tag of that answer.
export async function asked(path) {
  const answer = await fetch(path, { cache: "no-cache" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return { data: await answer.json(), tag: answer.headers.get("etag") };
}

export function drawsMaps() {
  const canvas = document.createElement("canvas");
  return Boolean(canvas.getContext("webgl2"));
}

// The map over what lies below it; #map[data-drawn] is there once all that was asked for is drawn, for whoever waits.
export function start(bounds, sources, layers, options = {}) {
  const below = underlay(options.basemap);
  folded();
  const map = new maplibregl.Map({
    container: "map", bounds, fitBoundsOptions: { padding: around(options.padding ?? 40) }, attributionControl: false,
    dragRotate: false, pitchWithRotate: false, maxPitch: 0, ...view(), ...options.map,
    style: { version: 8, sources: { ...below.sources, ...sources }, layers: [...below.layers, ...layers] },
  });
  map.touchZoomRotate.disableRotation();
  const tools = [new maplibregl.NavigationControl({ showCompass: false }), new maplibregl.ScaleControl()];
  byId("tools").append(...tools.map(tool => tool.onAdd(map)));
  map.on("idle", () => { byId("map").dataset.drawn = "yes"; });
  map.on("dataloading", () => { delete byId("map").dataset.drawn; });
  map.on("load", () => below.draw(map));
  follow(map);
  window.map = map;
  return map;
}

// A second map of the same kind, over the first and moved with it.
export function beside(container, map, sources, layers) {
  return new maplibregl.Map({
    container, center: map.getCenter(), zoom: map.getZoom(), interactive: false, attributionControl: false, maxPitch: 0,
    fadeDuration: 0, style: { version: 8, sources, layers },
  });
}

// Room that the panels take, so that what the map shows first is not behind them.
export function around(padding) {
  if (PHONE.matches) return { left: 24, right: 24, top: 150, bottom: 130 };
  return { left: 330, right: innerWidth > 1100 ? 350 : padding, top: padding, bottom: 110 };
}

// What lies in the middle of the map is picked by Enter while the map has the focus; arrows move it.
export function pickedByKey(map, pick) {
  map.getCanvas().setAttribute("aria-label", "map: arrows move it, plus and minus zoom, Enter picks what is in its middle");
  map.getCanvas().addEventListener("keydown", event => {
    if (event.key === "Enter") pick(map.project(map.getCenter()));
    if (event.key === "Escape") byId("details").hidden = true;
  });
}

export function credited(...lines) {
  const known = lines.filter(Boolean);
  byId("credits").replaceChildren(...known.map(line => element("span", {}, line)), element("span", {}, "Map: MapLibre"));
}

// In place of a map that cannot be drawn: a reason, and ways on.
export function instead(reason, ...further) {
  document.body.classList.add("nomap");
  const ways = element("p", {}, element("a", { href: "map/" }, "All regions"), " · ", element("button", { class: "link", onclick: () => { cleared(); location.reload(); } }, "Try again"));
  byId("instead").replaceChildren(element("h1", {}, "There is no map here"), element("p", {}, reason), ways, ...further);
  byId("instead").hidden = false;
}

export const NO_WEBGL = "This browser draws no maps: it has no WebGL 2, or it is switched off. What was made can be read without it.";

export function failed(error) {
  console.error(error);
  instead(`It cannot be drawn: ${error.message ?? error}`);
}

export const at = (dataset, region, year) => `partition/${dataset}/${year}/${encodeURIComponent(region)}`;
export const mapOf = (region, year) => `map/${encodeURIComponent(region)}/${year}/`;
export const dagsterPage = (root, asset, region, year) =>
  `${root}/assets/${asset}?view=partitions&partition=${encodeURIComponent(`${region}|${year}`)}`;
export const when = text => text ? text.replace("T", " ").replace(/(:\d\d):\d\d.*$/, "$1 UTC") : "";

// What both maps share: the map itself, text that is never HTML, and colours. Not here: what is drawn on it.
import * as maplibregl from "./vendor/maplibre-gl.mjs";

export const COLOURS = { done: [46, 125, 87], partly: [233, 180, 76], missing: [168, 176, 186], failed: [197, 58, 50] };
export const UNSCORED = [92, 148, 172];
export const { LngLatBounds, Marker, NavigationControl, ScaleControl } = maplibregl;

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
  for (const [name, value] of rows) made.append(element("dt", {}, name), element("dd", {}, String(value)));
  return made;
}

export function show(...children) {
  const box = byId("details");
  box.replaceChildren(element("button", { class: "close", title: "close", onclick: () => { box.hidden = true; } }, "×"), ...children);
  box.hidden = false;
}

export async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

// The map on a plain ground; #map[data-drawn] is there once all that was asked for is drawn, for whoever waits for it.
export function start(bounds, sources, layers, options = {}) {
  const map = new maplibregl.Map({
    container: "map", bounds, fitBoundsOptions: { padding: options.padding ?? 40 }, attributionControl: false,
    dragRotate: false, pitchWithRotate: false, maxPitch: 0, ...options.map,
    style: { version: 8, sources, layers: [{ id: "ground", type: "background", paint: { "background-color": "#eef1f4" } }, ...layers] },
  });
  map.touchZoomRotate.disableRotation();
  map.addControl(new NavigationControl({ showCompass: false }), "bottom-right");
  map.addControl(new ScaleControl(), "bottom-right");
  map.on("idle", () => { byId("map").dataset.drawn = "yes"; });
  map.on("dataloading", () => { delete byId("map").dataset.drawn; });
  window.map = map;
  return map;
}

export function failed(error) {
  console.error(error);
  byId("sum").replaceChildren(element("span", { class: "bad" }, `The map cannot be drawn: ${error.message ?? error}`));
}

export const at = (dataset, region, year) => `partition/${dataset}/${year}/${encodeURIComponent(region)}`;
export const dagsterPage = (root, asset, region, year) =>
  `${root}/assets/${asset}?view=partitions&partition=${encodeURIComponent(`${region}|${year}`)}`;

// Buildings on a region's map: footprints by confidence, or beside the register in three colours; which of them are
// shown, and what one of them says. Not here: imagery and years (region.js), files of them (downloads.js).
import { Marker, ask, at, byId, dagsterPage, element, key, list, pickedByKey, show } from "./common.js";
import { said, say } from "./permalink.js";

const EMPTY = { type: "FeatureCollection", features: [] };
const SURE = [[0.4, "#ffd34d"], [0.7, "#ff8b3d"], [0.95, "#ff2e4d"]]; // confidence and its colour
const VERDICTS = { found: "#28c83c", missed: "#e61e28", false: "#ffdc00" };
const WORDS = { found: "found: in the register too", missed: "missed: in the register alone", false: "false: not in the register" };
const LISTED = 30; // in the list for those who do not point
const BARS = 20;
const AREA = 200; // m2 that the filter reaches
const SECONDS = 30; // after which a database that did not answer is asked again
const LAYERS = ["footprints:fill", "agreement:fill"];

export const least = { confidence: Number(said("confidence")) || 0, area: Number(said("area")) || 0 };

const MANY = "footprints:many"; // all of them as vector tiles, where an answer holds the largest alone

export const sources = () => ({
  footprints: { type: "geojson", data: EMPTY, promoteId: "id" }, agreement: { type: "geojson", data: EMPTY, generateId: true },
});

export function layers() {
  const sure = ["interpolate", ["linear"], ["get", "confidence"], ...SURE.flat()];
  const verdict = ["match", ["get", "verdict"], ...Object.entries(VERDICTS).flat(), "#888888"];
  const wide = ["interpolate", ["linear"], ["zoom"], 14, 0.8, 18, 2];
  const is = name => ["boolean", ["feature-state", name], false];
  return [
    { id: "footprints:fill", type: "fill", source: "footprints", paint: { "fill-color": sure, "fill-opacity": ["case", is("chosen"), 0.45, 0.18] } },
    { id: "footprints:line", type: "line", source: "footprints", paint: { "line-color": sure, "line-width": wide } },
    { id: "footprints:new", type: "line", source: "footprints", paint: { "line-color": "#3b8cff", "line-dasharray": [2, 1.2], "line-width": ["case", is("new"), 3, 0] } },
    { id: "agreement:fill", type: "fill", source: "agreement", paint: { "fill-color": verdict, "fill-opacity": 0.3 } },
    { id: "agreement:line", type: "line", source: "agreement", paint: { "line-color": verdict, "line-width": wide } },
    { id: "footprints:chosen", type: "line", source: "footprints", paint: { "line-color": "#ffffff", "line-width": ["case", is("chosen"), 5, 0] } },
    { id: "footprints:heart", type: "line", source: "footprints", paint: { "line-color": "#0b57d0", "line-width": ["case", is("chosen"), 2.5, 0] } },
  ];
}

const gradient = `linear-gradient(to right, ${SURE.map(([, colour]) => colour).join(",")})`;
export const sureKey = () => key(gradient, `footprints; confidence ${SURE[0][0]} to ${SURE.at(-1)[0]}`, "scale");
export const verdictKeys = () => Object.entries(VERDICTS).map(([name, colour]) => key(colour, WORDS[name]));

// here() gives region, year, facts; shows(id) whether a layer is shown.
export function buildings(map, here, shows) {
  const state = { chosen: null, asked: 0, known: null, seen: [], flag: null, tiled: null };
  const name = () => encodeURIComponent(here().region);

  async function refresh() {
    const number = ++state.asked;
    const { facts, year } = here();
    const query = `bbox=${edges(map)}&zoom=${map.getZoom().toFixed(1)}`;
    const got = await Promise.all([
      facts.footprints ? ask(`footprints/${name()}/${year}.geojson?${query}`) : { ...EMPTY, shown: 0, total: 0 },
      facts.compared && shows("agreement") ? ask(`agreement/${name()}/${year}.geojson?${query}`) : null]);
    if (number !== state.asked) return; // the map has moved on
    const [found, compared] = got;
    map.getSource("footprints").setData(found);
    map.getSource("agreement").setData(compared ?? EMPTY);
    state.seen = found.features.map(feature => feature.properties);
    state.total = found;
    state.compared = compared;
    many(found.shown < found.total, number).catch(console.error); // nobody waits for a database
    mark(found);
    if (state.chosen) map.setFeatureState({ source: "footprints", id: state.chosen }, { chosen: true });
    tell();
    byId("map").dataset.buildings = found.total;
    byId("map").dataset.compared = compared ? compared.total : "";
    byId("map").dataset.of = year;
  }

  // Of more buildings than an answer holds, the rest comes as vector tiles, where the service has a database of them.
  async function many(needed, number) {
    const { year, facts } = here();
    const version = facts.made.building_footprints;
    const missed = state.tiled && !state.tiled.there && Date.now() > state.tiled.at + 1000 * SECONDS;
    if (needed && (state.tiled?.version !== version || missed)) {
      untiled();
      const told = await ask(`ogc/collections/footprints-${year}/tiles/WebMercatorQuad/tilejson.json?region=${name()}`).catch(() => null);
      if (number !== state.asked) return;
      state.tiled = { version, there: Boolean(told), at: Date.now() };
      if (told) tiled(told);
    }
    if (map.getLayer(MANY)) map.setLayoutProperty(MANY, "visibility", needed && shows("footprints") && !shows("agreement") ? "visible" : "none");
    byId("map").dataset.tiled = String(Boolean(needed && map.getLayer(MANY)));
  }

  function tiled(told) {
    // by the way that this page came, whatever the service calls itself
    const here = address => new URL(address.replace(/^.*?\/ogc\//, "ogc/"), document.baseURI).href.replaceAll("%7B", "{").replaceAll("%7D", "}");
    const tiles = told.tiles.map(here);
    map.addSource(MANY, { ...told, type: "vector", tiles });
    const line = layers().find(layer => layer.id === "footprints:line");
    map.addLayer({ ...line, id: MANY, source: MANY, "source-layer": "footprints" }, "footprints:line");
    filter();
  }

  function untiled() {
    if (map.getLayer(MANY)) map.removeLayer(MANY);
    if (map.getSource(MANY)) map.removeSource(MANY);
  }

  // New are those whose id was not there when the same ground was last looked at.
  function mark(found) {
    for (const id of state.fresh ?? []) map.setFeatureState({ source: "footprints", id }, { new: true });
    if (!state.before) return;
    const fresh = found.features.map(feature => feature.properties.id).filter(id => !state.before.has(id));
    for (const id of fresh) map.setFeatureState({ source: "footprints", id }, { new: true });
    state.fresh = [...state.fresh ?? [], ...fresh];
    state.before = null;
    byId("news").textContent = fresh.length ? `${fresh.length} new buildings, with a dashed blue line` : "This place was made again; no new building in view.";
    byId("news").hidden = false;
  }

  function again() {
    state.before = new Set(state.seen.map(one => one.id));
    return refresh();
  }

  function passes(one) { return one.confidence >= least.confidence && one.area >= least.area; }

  function filter() {
    const large = [">=", ["get", "area"], least.area];
    const sure = [">=", ["get", "confidence"], least.confidence];
    for (const layer of map.getStyle().layers) {
      if (layer.source === "footprints" || layer.source === MANY) map.setFilter(layer.id, ["all", large, sure]);
      if (layer.source === "agreement") map.setFilter(layer.id, large);
    }
    tell();
  }

  function tell() {
    const { total } = state;
    if (!total) return;
    const passed = state.seen.filter(passes);
    const whole = total.shown < total.total ? `the largest ${total.shown} of ${total.total} buildings in view` : `${total.total} buildings in view`;
    const filtered = least.confidence || least.area ? `${passed.length} of ${whole} pass the filter` : whole;
    const counts = state.compared && ["found", "missed", "false"].map(verdict => `${state.compared.features.filter(one => one.properties.verdict === verdict).length} ${verdict}`);
    byId("sum").textContent = counts ? `${filtered}; ${counts.join(", ")}` : filtered;
    histogram();
    byId("listed").replaceChildren(...[...passed].sort((one, other) => other.area - one.area).slice(0, LISTED).map(one => element("li", {},
      element("button", { type: "button", class: "link", onclick: () => choose(one.id, true) }, `${one.id}`), element("small", {}, ` ${Math.round(one.area)} m², ${one.confidence.toFixed(2)}`))));
  }

  function histogram() {
    const counts = Array(BARS).fill(0);
    for (const one of state.seen) counts[Math.min(BARS - 1, Math.floor(one.confidence * BARS))] += 1;
    const most = Math.max(1, ...counts);
    byId("bars").replaceChildren(...counts.map((count, i) => {
      const bar = element("i", { title: `${(i / BARS).toFixed(2)}: ${count}` });
      bar.style.height = `${Math.round(100 * count / most)}%`;
      bar.classList.toggle("out", (i + 1) / BARS <= least.confidence);
      return bar;
    }));
  }

  async function choose(id, go = false) {
    if (state.chosen) map.setFeatureState({ source: "footprints", id: state.chosen }, { chosen: false });
    state.chosen = id;
    say({ building: id });
    if (!id) { byId("details").hidden = true; return true; }
    map.setFeatureState({ source: "footprints", id }, { chosen: true });
    const { region, year } = here();
    const { building } = await ask(`building/${name()}/${year}/${encodeURIComponent(id)}.json`);
    if (state.chosen !== id) return true;
    if (!building) {
      state.chosen = null;
      say({ building: null });
      return false;
    }
    const [west, south, east, north] = building.box;
    const middle = [(west + (east < west ? east + 360 : east)) / 2, (south + north) / 2];
    if (go) map.jumpTo({ center: middle, zoom: Math.max(map.getZoom(), 18) });
    card(building, region, year);
    return true;
  }

  function card(one, region, year) {
    const { facts } = here();
    const links = [element("a", { class: "button second", href: at("building_footprints", region, year) }, "What was made")];
    if (facts.dagster) links.push(element("a", { class: "button second", href: dagsterPage(facts.dagster, "building_footprints", region, year) }, "Open in Dagster"));
    show(() => choose(null), element("h2", {}, "Building"), list([
      ["id", copied(one.id)], ["confidence", one.confidence.toFixed(3)], ["area", `${one.area.toFixed(1)} m²`], ["image", one.image_date ?? `${year}, day unknown`],
      ["sheet", one.sheet ?? "unknown"], ["model", one.model], ["block", one.block]]),
    element("button", { type: "button", class: "button second", onclick: event => copy(location.href, event.currentTarget) }, "Copy a link to it"), ...links);
  }

  function missed(one) {
    show(null, element("h2", {}, "Missed"), element("p", {}, `A building of the register, ${one.area.toFixed(1)} m², at which no footprint lies.`));
  }

  function pick(point) {
    const hits = map.queryRenderedFeatures(point, { layers: LAYERS }).map(hit => hit.properties);
    const ours = hits.find(hit => hit.id);
    if (ours) choose(ours.id);
    else if (hits.length) missed(hits[0]);
    else choose(null);
  }

  function place(where) {
    state.flag?.remove();
    state.flag = new Marker().setLngLat(where).addTo(map);
    map.jumpTo({ center: where });
  }

  map.on("click", event => pick(event.point));
  for (const id of LAYERS) {
    map.on("mouseenter", id, () => { map.getCanvas().style.cursor = "pointer"; });
    map.on("mouseleave", id, () => { map.getCanvas().style.cursor = ""; });
  }
  pickedByKey(map, pick);
  sliders(filter);
  return { refresh, again, filter, choose, place, forget: () => { state.before = null; state.fresh = []; }, chosen: () => state.chosen };
}

function sliders(filter) {
  for (const [name, most, unit] of [["confidence", 1, ""], ["area", AREA, " m²"]]) {
    const input = byId(`least-${name}`);
    input.value = least[name];
    const turned = () => {
      least[name] = Math.min(most, Number(input.value));
      byId(`least-${name}-said`).value = `${least[name]}${unit}`;
    };
    turned();
    input.addEventListener("input", () => { turned(); say({ [name]: least[name] || null }); filter(); });
  }
}

function copied(id) {
  const button = element("button", { type: "button", class: "link", onclick: event => copy(id, event.currentTarget) }, "copy");
  return element("span", {}, element("code", {}, id), " ", button);
}

// Browsers give the clipboard to https and this machine only; elsewhere the old way.
async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea", {}, text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.textContent;
  button.textContent = "copied";
  setTimeout(() => { button.textContent = before; }, 1500);
}

// west,south,east,north of what is seen; across the 180th meridian a box has west > east
export function edges(map) {
  const box = map.getBounds();
  const whole = box.getEast() - box.getWest() >= 360;
  const [left, right] = whole ? [-180, 180] : [box.getWest(), box.getEast()].map(edge => ((edge + 180) % 360 + 360) % 360 - 180);
  return [left, Math.max(-85, box.getSouth()), right, Math.min(85, box.getNorth())].map(edge => edge.toFixed(6)).join(",");
}

// A region in a year: footprints over imagery, other layers to switch on, other years without leaving the view.
import { LngLatBounds, NO_WEBGL, ask, asked, at, byId, credited, drawsMaps, element, failed, instead, key, mapOf, start } from "./common.js";
import { colourNamed } from "./base.js";
import { buildings, edges, layers as buildingLayers, sources as buildingSources, sureKey, verdictKeys } from "./buildings.js";
import { changes } from "./changes.js";
import { downloads } from "./downloads.js";
import { watch } from "./live.js";
import { rename, said, say } from "./permalink.js";
import { searching } from "./search.js";
import { swiping } from "./swipe.js";

const TITLES = { aerial_tiles: "imagery", predictions: "building probability", labels: "register as labels", footprints: "footprints", agreement: "beside the register" };
const RASTERS = ["aerial_tiles", "labels", "predictions"];
const EMPTY = { type: "FeatureCollection", features: [] };
const LABELS = [["rgb(240,160,40)", "building"], ["rgb(255,235,120)", "inner edge"], ["rgb(220,40,90)", "gap between buildings"]];
const SECONDS = 10;
// where this page lies: .../map/REGION/YEAR/
const [ofPath, region] = location.pathname.split("/").filter(Boolean).slice(-2).reverse().map(decodeURIComponent);
const name = encodeURIComponent(region);

const state = { year: Number(ofPath), facts: null, map: null, shown: new Set((said("layers") ?? "aerial_tiles,footprints").split(",")) };
const has = id => id === "footprints" ? state.facts.footprints : id === "agreement" ? state.facts.compared : state.facts.layers.includes(id);
const shows = id => has(id) && state.shown.has(id);

const factsOf = year => `map/${name}/${year}/facts.json`;
const tilesOf = (id, year, facts) => [new URL(`tiles/${id}/${name}/${year}/{z}/{x}/{y}.png?of=${facts.made[id] ?? ""}`, document.baseURI).href.replaceAll("%7B", "{").replaceAll("%7D", "}")];
const raster = (id, year, facts) => ({ type: "raster", tiles: tilesOf(id, year, facts), tileSize: 256, bounds: facts.bounds, minzoom: facts.least_zoom, maxzoom: facts.most_zoom });

function panel() {
  const line = id => {
    const input = element("input", { type: "checkbox", name: id });
    input.checked = state.shown.has(id);
    input.addEventListener("change", () => {
      if (input.checked) state.shown.add(id);
      else state.shown.delete(id);
      say({ layers: [...state.shown].join(",") || "none" });
      visible();
    });
    return element("label", {}, input, TITLES[id]);
  };
  byId("layers").replaceChildren(...[...RASTERS, "footprints", "agreement"].filter(has).map(line));
}

function visible() {
  const { map } = state;
  for (const layer of map.getStyle().layers) {
    const id = layer.id.split(":")[0];
    if (id in TITLES) map.setLayoutProperty(layer.id, "visibility", shows(id) ? "visible" : "none");
  }
  // beside the register the three colours are what is looked at
  for (const kind of ["fill", "line"]) map.setLayoutProperty(`footprints:${kind}`, "visibility", shows("footprints") && !shows("agreement") ? "visible" : "none");
  byId("legend").replaceChildren(...[
    ...shows("agreement") ? verdictKeys() : shows("footprints") ? [sureKey()] : [],
    ...shows("predictions") ? [key("linear-gradient(to right, rgba(255,70,30,0.1), rgb(255,70,60))", "probability of a building, 0 to 1", "scale"), key("rgb(255,220,60)", "edge of a building")] : [],
    ...shows("labels") ? LABELS.map(([colour, text]) => key(colour, `label: ${text}`)) : []]);
  state.buildings.refresh().catch(console.error);
}

function years() {
  const button = year => element("button", { type: "button", "aria-pressed": String(year === state.year), onclick: () => turn(year) }, String(year));
  byId("years").replaceChildren(...state.facts.years.map(button));
  const choice = byId("swipe");
  const others = state.facts.years.filter(year => year !== state.year);
  choice.replaceChildren(element("option", { value: "" }, "no other year"), ...others.map(year => element("option", { value: String(year) }, String(year))));
  choice.value = others.includes(state.swipe.year()) ? String(state.swipe.year()) : "";
  byId("swipe-line").hidden = !others.length;
}

function told() {
  const { facts, year } = state;
  document.title = `${region} ${year} - Groundplan`;
  byId("title").replaceChildren(region, " ", element("small", {}, String(year)));
  credited(facts.credits ?? `Credits ${facts.uncredited}`, facts.basemap?.attribution);
  panel();
  years();
  downloads(state.map, region, year, facts.downloads);
  changes(region, year, facts.changes);
}

function rasters() {
  const { map, facts, year } = state;
  for (const id of RASTERS) if (facts.layers.includes(id)) map.getSource(id).setTiles(tilesOf(id, year, facts));
}

// Another year on the same ground; where nothing was made of it, this one stays.
async function turn(year) {
  if (year === state.year) return;
  const { data, tag } = await asked(factsOf(year));
  if (state.swipe.year() === year) state.swipe.leave();
  Object.assign(state, { year, facts: data });
  state.live.knows(tag);
  rename(location.pathname.replace(/[^/]+\/$/, `${year}/`));
  state.buildings.forget();
  state.swipe.left(year);
  byId("news").hidden = true;
  rasters();
  told();
  visible();
  const chosen = state.buildings.chosen();
  if (chosen && !await state.buildings.choose(chosen)) byId("details").hidden = true; // the same building, if it is there
}

async function changed(facts) {
  const before = state.facts;
  state.facts = facts;
  rasters();
  told();
  visible();
  if (facts.made.building_footprints !== before.made.building_footprints) await state.buildings.again();
}

async function drawn(year) {
  const facts = await ask(factsOf(year));
  const white = { "line-color": "#ff2e4d", "line-width": 1.5 };
  const fill = async other => {
    if (!facts.footprints) return;
    const found = await ask(`footprints/${name}/${year}.geojson?bbox=${edges(state.map)}&zoom=${state.map.getZoom().toFixed(1)}`);
    other.getSource("footprints")?.setData(found);
  };
  return { fill, sources: { aerial_tiles: raster("aerial_tiles", year, facts), footprints: { type: "geojson", data: EMPTY } }, layers: [
    { id: "ground", type: "background", paint: { "background-color": colourNamed("--ground") } },
    { id: "aerial_tiles", type: "raster", source: "aerial_tiles", paint: { "raster-fade-duration": 0 } },
    { id: "footprints:line", type: "line", source: "footprints", paint: white }] };
}

// The other regions' borders, and their names for the search.
async function neighbours() {
  const country = await ask("map/country.json");
  state.map.getSource("regions").setData(country.regions);
  const lies = new Map(country.regions.features.map(feature => [feature.properties.name, feature.properties.at]));
  const newest = other => country.places.filter(place => place.region === other && !place.missing.includes("aerial_tiles")).at(-1)?.year;
  searching({
    regions: () => [...lies.keys()], where: () => `in ${region} ${state.year}`,
    toRegion: other => {
      const year = newest(other);
      if (other === region) state.map.fitBounds(boundsOf(state.facts));
      else location.href = year ? mapOf(other, year) : `map/#region=${encodeURIComponent(other)}`;
    },
    toBuilding: id => state.buildings.choose(id, true), toPlace: state.buildings.place,
  });
}

const boundsOf = ({ bounds: [west, south, east, north] }) => new LngLatBounds([west, south], [east, north]);

function main({ data: facts, tag }) {
  state.facts = facts;
  if (!drawsMaps()) {
    const picture = element("img", { src: `previews/building_footprints/${state.year}/${name}.jpg`, alt: `footprints of ${region} ${state.year}` });
    return instead(NO_WEBGL, picture, element("p", {}, element("a", { href: at("aerial_tiles", region, state.year) }, "What was made of it")));
  }
  const sources = { regions: { type: "geojson", data: EMPTY }, ...buildingSources() };
  const drawnLayers = [{ id: "borders", type: "line", source: "regions", paint: { "line-color": colourNamed("--border"), "line-width": 1.5 } }];
  for (const id of RASTERS) {
    sources[id] = raster(id, state.year, facts);
    drawnLayers.push({ id, type: "raster", source: id, layout: { visibility: shows(id) ? "visible" : "none" }, paint: { "raster-fade-duration": 0 } });
  }
  const map = start(boundsOf(facts), sources, [...drawnLayers, ...buildingLayers()], { padding: 20, basemap: facts.basemap, map: { maxZoom: facts.most_zoom + 2, minZoom: Math.max(0, facts.least_zoom - 2) } });
  state.map = map;
  state.swipe = swiping(map, drawn);
  state.buildings = buildings(map, () => ({ region, year: state.year, facts: state.facts }), shows);
  state.live = watch(() => factsOf(state.year), tag, SECONDS, changed);
  byId("swipe").addEventListener("change", event => event.target.value ? state.swipe.enter(Number(event.target.value), state.year) : state.swipe.leave());
  told();
  map.on("load", async () => {
    state.buildings.filter();
    visible();
    map.on("moveend", () => state.buildings.refresh().catch(console.error));
    const other = Number(said("swipe"));
    if (facts.years.includes(other) && other !== state.year) { await state.swipe.enter(other, state.year); years(); }
    if (said("building")) await state.buildings.choose(said("building"), !said("at"));
    await neighbours();
  });
}

asked(factsOf(state.year)).then(main).catch(failed);

// One polygon at a time over its imagery, beside another year: a person says by key whether it is a building.
import * as maplibregl from "./vendor/maplibre-gl.mjs";
import { TerraDraw, TerraDrawPolygonMode } from "./vendor/terra-draw.mjs";
import { TerraDrawMapLibreGLAdapter } from "./vendor/terra-draw-maplibre.mjs";

const byId = id => document.getElementById(id);
const asked = new URLSearchParams(location.search);
const KEYS = { a: "accept", r: "reject", d: "redraw", m: "missing", n: "not-sure", z: "undo", y: "years" };
const REASONS = {
  "unsure": "the model is not sure", "register": "the register does not have it", "years": "it was not there the year before",
  "not found": "the register has it, and the model did not find it", "unusual": "its size or its block is unusual", "random": "drawn by chance",
};
const EMPTY = { type: "FeatureCollection", features: [] };
const state = { task: null, since: 0, draw: null, drawing: "", busy: false, facts: new Map(), maps: {}, beside: asked.get("beside") !== "no" };

async function call(path, body) {
  const sent = body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json", ...keyed() }, body: JSON.stringify(body) };
  const answer = await fetch(path, { cache: "no-store", headers: keyed(), ...sent });
  const data = await answer.json();
  if (!answer.ok) throw new Error(data.detail ?? `${path}: ${answer.status}`);
  return data;
}

// A key is only needed away from this machine; it is kept for this tab alone.
function keyed() {
  const key = sessionStorage.getItem("key");
  return key ? { authorization: `Bearer ${key}` } : {};
}

function place() {
  const found = new URLSearchParams();
  for (const name of ["region", "year", "person"]) if (asked.get(name)) found.set(name, asked.get(name));
  return found;
}

async function factsOf(region, year) {
  const path = `map/${encodeURIComponent(region)}/${year}/facts.json`;
  if (!state.facts.has(path)) state.facts.set(path, fetch(path).then(answer => answer.ok ? answer.json() : null));
  return state.facts.get(path);
}

function mapIn(id) {
  const map = new maplibregl.Map({
    container: id, attributionControl: false, dragRotate: false, pitchWithRotate: false, keyboard: false, fadeDuration: 0,
    style: { version: 8, sources: { polygon: { type: "geojson", data: EMPTY } }, layers: [
      { id: "polygon", type: "line", source: "polygon", paint: { "line-color": "#ffd60a", "line-width": 2.5 } }] },
  });
  return new Promise(done => map.once("load", () => done(map)));
}

// Looking at one place in both.
function together(one, other) {
  let following = false;
  for (const [from, to] of [[one, other], [other, one]]) from.on("move", () => {
    if (following) return;
    following = true;
    to.jumpTo({ center: from.getCenter(), zoom: from.getZoom() });
    following = false;
  });
}

async function imagery(map, region, year) {
  const facts = await factsOf(region, year);
  if (map.getLayer("imagery")) map.removeLayer("imagery");
  if (map.getSource("imagery")) map.removeSource("imagery");
  if (!facts) return;
  const tiles = new URL(`tiles/aerial_tiles/${encodeURIComponent(region)}/${year}/{z}/{x}/{y}.png?of=${facts.made.aerial_tiles ?? ""}`, document.baseURI).href;
  const source = { type: "raster", tiles: [tiles.replaceAll("%7B", "{").replaceAll("%7D", "}")], tileSize: 256, bounds: facts.bounds, minzoom: facts.least_zoom, maxzoom: facts.most_zoom };
  map.addSource("imagery", source);
  map.addLayer({ id: "imagery", type: "raster", source: "imagery", paint: { "raster-fade-duration": 0 } }, "polygon");
}

function boundsOf(geometry) {
  const points = geometry.coordinates.flat(geometry.type === "MultiPolygon" ? 2 : 1);
  return points.reduce((bounds, point) => bounds.extend(point), new maplibregl.LngLatBounds(points[0], points[0]));
}

async function show(answer) {
  state.task = answer.task;
  state.since = performance.now();
  byId("progress").textContent = `${answer.progress.done} done, ${answer.progress.open} left, as ${answer.reviewer}`;
  document.body.dataset.task = answer.task?.id ?? "none";
  for (const name of ["accept", "reject", "redraw", "missing", "not-sure"]) byId(name).disabled = !answer.task;
  if (!answer.task) {
    byId("asked").textContent = "Nothing is left to be asked here.";
    for (const map of Object.values(state.maps)) map.getSource("polygon").setData(EMPTY);
    return;
  }
  const { region, year, geometry, reason, facts, block } = answer.task;
  const sure = facts.confidence === null || facts.confidence === undefined ? "" : `, confidence ${facts.confidence.toFixed(2)}`;
  byId("asked").textContent = `${region} ${year}, ${block}: ${REASONS[reason] ?? reason}${sure}${facts.split === "test" ? ", for scoring only" : ""}`;
  byId("year").textContent = String(year);
  await Promise.all([imagery(state.maps.main, region, year), other(region, year)]);
  for (const map of Object.values(state.maps)) map.getSource("polygon").setData({ type: "Feature", properties: {}, geometry });
  state.maps.main.fitBounds(boundsOf(geometry), { padding: 120, maxZoom: 20, animate: false });
  document.body.dataset.shown = answer.task.id;
}

// The nearest other year, an earlier one first.
async function other(region, year) {
  const facts = await factsOf(region, year);
  const years = (facts?.years ?? []).filter(one => one !== year).sort((a, b) => (a > year) - (b > year) || Math.abs(a - year) - Math.abs(b - year));
  byId("years").disabled = !years.length;
  byId("beside").hidden = !years.length || !state.beside;
  byId("years").setAttribute("aria-pressed", String(!byId("beside").hidden));
  if (byId("beside").hidden) return;
  byId("other-year").textContent = String(years[0]);
  if (!state.maps.other) {
    state.maps.other = await mapIn("other");
    together(state.maps.main, state.maps.other);
  }
  for (const map of Object.values(state.maps)) map.resize();
  await imagery(state.maps.other, region, years[0]);
}

async function next() {
  await show(await call(`v1/review/next?${place()}`));
}

async function say(verdict, geometry = null) {
  const seconds = Math.round(performance.now() - state.since) / 1000;
  const person = asked.get("person") ?? "";
  await call("v1/review/verdicts", { task: state.task.id, verdict, geometry, seconds, person });
  byId("hint").textContent = verdict === "missing" ? "added; and this one?" : `said: ${verdict}`;
  await next();
}

async function undo() {
  const person = asked.get("person");
  await call(`v1/review/undo${person ? `?person=${encodeURIComponent(person)}` : ""}`, {});
  byId("hint").textContent = "taken back";
  await next();
}

function drawFor(verdict) {
  stopDrawing();
  state.drawing = verdict;
  byId(verdict).setAttribute("aria-pressed", "true");
  state.draw = new TerraDraw({ adapter: new TerraDrawMapLibreGLAdapter({ map: state.maps.main }), modes: [new TerraDrawPolygonMode({ keyEvents: { cancel: "Escape", finish: "Enter" } })] });
  state.draw.start();
  state.draw.setMode("polygon");
  state.draw.on("finish", id => {
    const { geometry } = state.draw.getSnapshot().find(feature => feature.id === id);
    stopDrawing();
    doing(() => say(verdict, geometry));
  });
  byId("hint").textContent = "click its corners, then Enter or the first corner again; Escape leaves it";
}

function stopDrawing() {
  state.draw?.stop();
  if (state.drawing) byId(state.drawing).setAttribute("aria-pressed", "false");
  [state.draw, state.drawing] = [null, ""];
}

// One thing at a time: a key that is held down says nothing twice.
async function doing(what) {
  if (state.busy) return;
  state.busy = true;
  try {
    await what();
  } catch (error) {
    byId("hint").textContent = String(error.message);
  } finally {
    state.busy = false;
  }
}

const ACTIONS = {
  "accept": () => doing(() => say("accept")),
  "reject": () => doing(() => say("reject")),
  "not-sure": () => doing(() => say("not sure")),
  "redraw": () => drawFor("redraw"),
  "missing": () => drawFor("missing"),
  "undo": () => { stopDrawing(); doing(undo); },
  "years": () => { state.beside = !state.beside; doing(() => other(state.task.region, state.task.year)); },
};

for (const [name, act] of Object.entries(ACTIONS)) byId(name).addEventListener("click", act);
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.key === "Escape" && state.drawing) return stopDrawing();
  if (state.drawing) return;
  const name = KEYS[event.key.toLowerCase()];
  if (name && !byId(name).disabled) {
    event.preventDefault();
    ACTIONS[name]();
  }
});

state.maps.main = await mapIn("map");
state.maps.main.addControl(new maplibregl.NavigationControl({ showCompass: false }));
await doing(next);

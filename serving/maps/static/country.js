// The country by year: regions coloured by how they stand; a click opens a region's details.
import { CALM, COLOURS, NO_WEBGL, Marker, UNSCORED, around, ask, asked, at, byId, credited, dagsterPage, drawsMaps, element, failed, instead, key, list, mapOf, pickedByKey, rgb, show, start, when } from "./common.js";
import { lastSeen, seen, watch } from "./live.js";
import { said, say } from "./permalink.js";
import { searching } from "./search.js";

const NEWEST = "newest";
const MOST_NAMES = 80; // more would cover the map
const MOST_ASKED = 40; // regions in which a building's id is looked for
const SECONDS = 10; // the server gathers the country no oftener
const EMPTY = "rgba(0,0,0,0)"; // below the stripes of no imagery

const state = { data: null, year: null, region: null, new: new Set(), map: null, least: 0.4 };

// The better the score, the darker the green; as in the picture (groundplan/operations/country_map.py) while all are
// above 0.4, else the scale begins where they do.
function colourOf(place) {
  if (!place) return EMPTY;
  const colour = COLOURS[place.state];
  if (place.state !== "done") return rgb(colour);
  if (place.f1 === null) return rgb(UNSCORED);
  const light = Math.min(1, Math.max(0, (0.9 - place.f1) / (0.9 - state.least)));
  return rgb(colour.map(part => part + (225 - part) * 0.7 * light));
}

function placeOf(name) {
  const own = state.data.places.filter(place => place.region === name);
  if (state.year === NEWEST) return own.at(-1);
  return own.find(place => place.year === state.year);
}

// Of what changed in the same second, the newest year.
const lastChanged = places => places.reduce((last, place) => place.changed && place.changed >= (last?.changed ?? "") ? place : last, null);

function legend() {
  const shown = state.data.regions.features.map(feature => placeOf(feature.properties.name));
  const has = test => shown.some(test);
  const { least } = state;
  const ramp = [least, (least + 0.9) / 2, 0.9].map(f1 => colourOf({ state: "done", f1 }));
  byId("legend").replaceChildren(...[
    has(place => place?.state === "done" && place.f1 !== null) && key(`linear-gradient(to right, ${ramp.join(",")})`, `done; F1 ${least.toFixed(1)} to 0.9`, "scale"),
    has(place => place?.state === "done" && place.f1 === null) && key(rgb(UNSCORED), "done, no register to compare"),
    has(place => place?.state === "partly") && key(rgb(COLOURS.partly), "partly made"),
    has(place => place?.state === "missing") && key(rgb(COLOURS.missing), "delivered, nothing made"),
    has(place => place?.state === "failed") && key(rgb(COLOURS.failed), "failed"),
    has(place => !place) && key("", "no imagery that year", "nowhere"),
    state.new.size > 0 && key("", "new since you last looked", "new")].filter(Boolean));
}

function details(name) {
  const place = placeOf(name);
  const { data } = state;
  const head = element("h2", {}, name, " ", element("small", {}, String(place?.year ?? state.year)));
  const others = data.places.filter(one => one.region === name && one.year !== place?.year).map(one => element("button", { class: "link", onclick: () => turn(one.year) }, String(one.year)));
  const further = others.length ? element("p", { class: "soft" }, "Imagery of ", ...others.flatMap((one, i) => i ? [", ", one] : [one])) : null;
  const closed = () => choose(null);
  if (!place) return show(closed, head, element("p", { class: "soft" }, "No imagery was delivered for this year."), further);
  const chip = element("span", { class: `chip ${place.state}` }, place.state);
  const rows = [];
  if (place.buildings !== null) rows.push(["buildings", place.buildings.toLocaleString("en")]);
  if (place.f1 !== null) rows.push(["F1 at IoU 0.5", place.f1.toFixed(3)], ["pixel IoU", place.iou.toFixed(3)], ["scored on", `${place.ground} ground`]);
  if (place.failed.length) rows.push(["failed", place.failed.join(", ")]);
  if (place.missing.length) rows.push(["missing", place.missing.join(", ")]);
  if (place.changed) rows.push(["changed", when(place.changed)]);
  const buttons = [];
  let picture = null;
  const first = place.failed[0] ?? place.missing[0] ?? "building_footprints";
  if (!place.missing.includes("aerial_tiles")) {
    const dataset = place.missing.includes("building_footprints") ? "aerial_tiles" : "building_footprints";
    const caption = element("figcaption", { class: "soft" });
    const image = element("img", { src: `previews/${dataset}/${place.year}/${encodeURIComponent(name)}.jpg`, alt: `${dataset} of ${name} ${place.year}` });
    picture = element("figure", {}, image, caption);
    image.addEventListener("error", () => image.remove());
    ask(`map/${encodeURIComponent(name)}/${place.year}/facts.json`).then(facts => { caption.textContent = facts.credits ?? `Credits ${facts.uncredited}`; }).catch(() => {});
    buttons.push(element("a", { class: "button", href: mapOf(name, place.year) }, "Footprints over imagery"));
    buttons.push(element("a", { class: "button second", href: at(dataset, name, place.year) }, "What was made"));
  }
  if (data.dagster) buttons.push(element("a", { class: "button second", href: dagsterPage(data.dagster, first, name, place.year) }, `Open ${first} in Dagster`));
  show(closed, head, chip, state.new.has(`${name}|${place.year}`) ? element("span", { class: "chip new" }, "new") : null, picture, list(rows), ...buttons, further);
}

function paint() {
  const { data, map } = state;
  const scored = data.places.filter(place => place.f1 !== null).map(place => place.f1);
  state.least = Math.min(0.4, Math.floor(10 * Math.min(1, ...scored)) / 10);
  byId("shown").value = state.year;
  const counts = { done: 0, partly: 0, missing: 0, failed: 0 };
  for (const feature of data.regions.features) {
    const { name } = feature.properties;
    const place = placeOf(name);
    if (place) counts[place.state] += 1;
    map.setFeatureState({ source: "regions", id: feature.id }, {
      colour: colourOf(place), nowhere: !place, chosen: name === state.region, new: Boolean(place) && state.new.has(`${name}|${place.year}`) });
  }
  const told = Object.entries(counts).filter(([, count]) => count).map(([name, count]) => `${count} ${name}`);
  byId("sum").textContent = `${state.year}: ${told.join(", ") || "no imagery"}, of ${data.regions.features.length} regions`;
  const merged = state.year === NEWEST ? data.merged?.at(-1) : data.merged?.find(year => year === state.year);
  if (merged) byId("sum").append(". ", element("a", { href: `partition/national_footprints/${merged}` }, `All of ${merged} in one`));
  for (const label of document.querySelectorAll(".name")) label.classList.toggle("new", Boolean(placeOf(label.textContent)) && state.new.has(`${label.textContent}|${placeOf(label.textContent)?.year}`));
  legend();
}

function choose(name) {
  state.region = name;
  say({ region: name });
  paint();
  if (name) details(name);
  else byId("details").hidden = true;
}

function turn(year) {
  state.year = year;
  byId("year").value = positions().indexOf(year);
  byId("year").setAttribute("aria-valuetext", String(year));
  say({ year });
  paint();
  if (state.region && !byId("details").hidden) details(state.region);
}

const positions = () => [...state.data.years, NEWEST];

function slider() {
  const input = byId("year");
  input.min = 0;
  input.max = positions().length - 1;
  if (input.dataset.ready) return;
  input.dataset.ready = "yes";
  input.addEventListener("input", () => turn(positions()[input.value]));
  byId("play").addEventListener("click", () => {
    turn(positions()[0]);
    const timer = setInterval(() => {
      const next = positions().indexOf(state.year) + 1;
      if (next >= positions().length) { clearInterval(timer); return; }
      turn(positions()[next]);
    }, 900);
  });
}

// Stripes: no imagery is a colour of its own, seen on any ground.
function stripes() {
  const side = 12;
  const data = new Uint8Array(4 * side * side);
  for (let y = 0; y < side; y++) for (let x = 0; x < side; x++) data.set((x + y) % side < 3 ? [128, 136, 146, 255] : [205, 211, 218, 255], 4 * (y * side + x));
  return { width: side, height: side, data };
}

function names(features) {
  if (features.length > MOST_NAMES) return;
  for (const { properties } of features) {
    const button = element("button", { class: "name", "aria-label": `region ${properties.name}`, onclick: event => { event.stopPropagation(); choose(properties.name); } }, properties.name);
    new Marker({ element: button }).setLngLat(properties.at).addTo(state.map);
  }
}

// What came while the page is open, or since it was last open here.
function changed(data) {
  const before = new Map(state.data.places.map(place => [`${place.region}|${place.year}`, place.changed]));
  const fresh = data.places.filter(place => place.changed > (before.get(`${place.region}|${place.year}`) ?? ""));
  const outlines = JSON.stringify(data.regions) !== JSON.stringify(state.data.regions);
  state.data = data;
  for (const place of fresh) state.new.add(`${place.region}|${place.year}`);
  if (outlines) {
    if (!state.map) { location.reload(); return; }
    state.map.getSource("regions").setData(data.regions);
    for (const label of document.querySelectorAll(".name")) label.closest(".maplibregl-marker").remove();
    names(data.regions.features);
  }
  slider();
  turn(positions().includes(state.year) ? state.year : NEWEST);
  const last = lastChanged(fresh);
  if (!last) return;
  const go = element("button", { class: "link", onclick: () => { turn(last.year); go_to(last.region); byId("news").hidden = true; } }, "Show");
  byId("news").replaceChildren(`${last.region} ${last.year} has changed. `, go);
  byId("news").hidden = false;
}

function go_to(name) {
  const feature = state.data.regions.features.find(one => one.properties.name === name);
  if (feature) state.map.easeTo({ center: feature.properties.at, duration: CALM.matches ? 0 : 500 });
  choose(name);
}

async function building(id) {
  const made = state.data.places.filter(place => !place.missing.includes("building_footprints") && (state.year === NEWEST ? placeOf(place.region) === place : place.year === state.year));
  const own = made.filter(place => place.region === state.region);
  for (const place of [...own, ...made.filter(place => place.region !== state.region)].slice(0, MOST_ASKED)) {
    const { building: found } = await ask(`building/${encodeURIComponent(place.region)}/${place.year}/${id}.json`);
    if (found) {
      location.href = `${new URL(mapOf(place.region, place.year), document.baseURI)}#building=${id}`;
      return true;
    }
  }
  return false;
}

function without(data) {
  const rows = data.places.map(place => element("tr", {}, element("td", {}, place.region), element("td", {}, String(place.year)), element("td", {}, place.state),
    element("td", {}, place.missing.includes("aerial_tiles") ? "" : element("a", { href: at(place.missing.includes("building_footprints") ? "aerial_tiles" : "building_footprints", place.region, place.year) }, "what was made"))));
  instead(NO_WEBGL, element("table", {}, element("caption", {}, "Regions and years"), element("tbody", {}, ...rows)));
}

function main({ data, tag }) {
  state.data = data;
  credited(data.credits, data.basemap?.attribution);
  watch(() => "map/country.json", tag, SECONDS, told => state.map || !told.bounds ? changed(told) : location.reload());
  if (!data.bounds) {
    byId("sum").textContent = "Nothing that lies anywhere has been made yet: deliver imagery, make the asset `sheets`.";
    byId("foot").classList.add("empty");
    return;
  }
  if (!drawsMaps()) return without(data);
  const last = lastChanged(data.places);
  const asked = said("year") === NEWEST ? NEWEST : Number(said("year"));
  state.year = [...data.years, NEWEST].includes(asked) ? asked : last?.year ?? NEWEST;
  const before = lastSeen();
  for (const place of data.places) if (before ? place.changed > before : place === last) state.new.add(`${place.region}|${place.year}`);
  if (last) seen(last.changed);
  const [west, south, east, north] = data.bounds;
  const on = name => ["case", ["boolean", ["feature-state", name], false], 1, 0];
  const map = start([[west, south], [east, north]], { regions: { type: "geojson", data: data.regions } }, [
    { id: "regions", type: "fill", source: "regions", paint: { "fill-color": ["to-color", ["feature-state", "colour"], EMPTY], "fill-opacity": data.basemap ? 0.75 : 1 } },
    { id: "borders", type: "line", source: "regions", paint: { "line-color": "#ffffff", "line-width": 1.5 } },
    { id: "new", type: "line", source: "regions", paint: { "line-color": "#1667d9", "line-width": ["case", ["boolean", ["feature-state", "new"], false], 3, 0], "line-dasharray": [2, 1.2] } },
    { id: "chosen", type: "line", source: "regions", paint: { "line-color": "#111418", "line-width": ["case", ["boolean", ["feature-state", "chosen"], false], 4, 0] } },
  ], { padding: 90, basemap: data.basemap });
  state.map = map;
  const pick = point => {
    const [hit] = map.queryRenderedFeatures(point, { layers: ["regions"] });
    choose(hit ? hit.properties.name : null);
  };
  map.on("load", () => {
    map.addImage("stripes", stripes());
    map.addLayer({ id: "nowhere", type: "fill", source: "regions", paint: { "fill-pattern": "stripes", "fill-opacity": on("nowhere") } }, "regions");
    slider();
    names(data.regions.features);
    turn(state.year);
    if (data.regions.features.some(one => one.properties.name === said("region"))) choose(said("region"));
    map.on("click", event => pick(event.point));
    pickedByKey(map, pick);
    map.on("mouseenter", "regions", () => { map.getCanvas().style.cursor = "pointer"; });
    map.on("mouseleave", "regions", () => { map.getCanvas().style.cursor = ""; });
  });
  let flag = null;
  searching({
    regions: () => state.data.regions.features.map(feature => feature.properties.name), toRegion: go_to, toBuilding: building, where: () => `in the regions of ${state.year}`,
    toPlace: place => { flag?.remove(); flag = new Marker().setLngLat(place).addTo(map); map.jumpTo({ center: place, padding: 0 }); },
  });
}

asked("map/country.json").then(main).catch(failed);

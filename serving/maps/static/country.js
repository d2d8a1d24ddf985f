// The country by year: regions coloured by how they stand; a click opens a region's details.
import { COLOURS, Marker, UNSCORED, ask, at, byId, dagsterPage, element, failed, list, rgb, show, start } from "./common.js";

const NOWHERE = "rgb(228,232,236)"; // beside the ground's own grey
const MOST_NAMES = 80; // more would cover the map

// The better the score, the darker the green; as in the picture (groundplan/operations/country_map.py).
function colourOf(place) {
  if (!place) return NOWHERE;
  const colour = COLOURS[place.state];
  if (place.state !== "done") return rgb(colour);
  if (place.f1 === null) return rgb(UNSCORED);
  const light = Math.min(1, Math.max(0, (0.9 - place.f1) / 0.5));
  return rgb(colour.map(part => part + (225 - part) * 0.7 * light));
}

function legend() {
  const line = (name, text) => element("div", {}, element("i", { colour: rgb(COLOURS[name]) }), text);
  const scale = element("i", { class: "scale", colour: `linear-gradient(to right, ${[0.4, 0.65, 0.9].map(f1 => colourOf({ state: "done", f1 })).join(",")})` });
  byId("legend").replaceChildren(
    element("div", {}, scale, "done; F1 0.4 to 0.9"), element("div", {}, element("i", { colour: rgb(UNSCORED) }), "done, no register to compare"),
    line("partly", "partly made"), line("missing", "delivered, nothing made"),
    line("failed", "failed"), element("div", {}, element("i", { colour: NOWHERE }), "no imagery that year"));
}

function details(name, place, data) {
  const head = element("h1", {}, name, " ", element("small", {}, String(data.year)));
  if (!place) return show(head, element("p", { class: "soft" }, "No imagery was delivered for this year."));
  const chip = element("span", { class: "chip", colour: rgb(COLOURS[place.state].map(part => part * 0.85)) }, place.state);
  const rows = [];
  if (place.buildings !== null) rows.push(["buildings", place.buildings.toLocaleString("en")]);
  if (place.f1 !== null) rows.push(["F1 at IoU 0.5", place.f1.toFixed(3)], ["pixel IoU", place.iou.toFixed(3)], ["scored on", `${place.ground} ground`]);
  if (place.failed.length) rows.push(["failed", place.failed.join(", ")]);
  if (place.missing.length) rows.push(["missing", place.missing.join(", ")]);
  const buttons = [];
  let picture = null;
  const first = place.failed[0] ?? place.missing[0] ?? "building_footprints";
  if (!place.missing.includes("aerial_tiles")) {
    const dataset = place.missing.includes("building_footprints") ? "aerial_tiles" : "building_footprints";
    picture = element("img", { src: `previews/${dataset}/${data.year}/${encodeURIComponent(name)}.jpg`, alt: "" });
    picture.addEventListener("error", () => picture.remove());
    buttons.push(element("a", { class: "button", href: `map/${encodeURIComponent(name)}/${data.year}/` }, "Footprints over imagery"));
    buttons.push(element("a", { class: "button second", href: at(dataset, name, data.year) }, "What was made"));
  }
  if (data.dagster) buttons.push(element("a", { class: "button second", href: dagsterPage(data.dagster, first, name, data.year) }, `Open ${first} in Dagster`));
  show(head, chip, picture, list(rows), ...buttons);
}

function main(data) {
  if (!data.bounds) {
    byId("sum").textContent = "Nothing that lies anywhere has been made yet: deliver imagery, make the asset `sheets`.";
    byId("years").hidden = true;
    return;
  }
  const places = new Map(data.places.map(place => [`${place.region}|${place.year}`, place]));
  const [west, south, east, north] = data.bounds;
  const colour = ["to-color", ["feature-state", "colour"], NOWHERE];
  const map = start([[west, south], [east, north]], { regions: { type: "geojson", data: data.regions } }, [
    { id: "regions", type: "fill", source: "regions", paint: { "fill-color": colour, "fill-outline-color": "#ffffff" } },
    { id: "borders", type: "line", source: "regions", paint: { "line-color": "#ffffff", "line-width": 1.5 } },
    { id: "chosen", type: "line", source: "regions", paint: { "line-color": "#20262e", "line-width": ["case", ["boolean", ["feature-state", "chosen"], false], 3, 0] } },
  ], { padding: 90 });

  const slider = byId("year");
  let chosen = null;
  const paint = () => {
    data.year = data.years[slider.value];
    byId("shown").value = data.year;
    const counts = { done: 0, partly: 0, missing: 0, failed: 0 };
    for (const feature of data.regions.features) {
      const place = places.get(`${feature.properties.name}|${data.year}`);
      if (place) counts[place.state] += 1;
      map.setFeatureState({ source: "regions", id: feature.id }, { colour: colourOf(place), chosen: feature.id === chosen });
    }
    const said = Object.entries(counts).filter(([, count]) => count).map(([state, count]) => `${count} ${state}`);
    byId("sum").textContent = `${data.year}: ${said.join(", ") || "no imagery"}, of ${data.regions.features.length} regions`;
    const feature = data.regions.features.find(one => one.id === chosen);
    if (feature && !byId("details").hidden) details(feature.properties.name, places.get(`${feature.properties.name}|${data.year}`), data);
  };
  slider.min = 0;
  slider.max = data.years.length - 1;
  slider.value = data.years.length - 1;
  slider.addEventListener("input", paint);
  byId("play").addEventListener("click", () => {
    slider.value = 0;
    paint();
    const timer = setInterval(() => {
      if (Number(slider.value) >= data.years.length - 1) { clearInterval(timer); return; }
      slider.value = Number(slider.value) + 1;
      paint();
    }, 900);
  });
  map.on("load", () => {
    paint();
    map.on("click", event => {
      const [hit] = map.queryRenderedFeatures(event.point, { layers: ["regions"] });
      chosen = hit ? hit.id : null;
      byId("details").hidden = !hit;
      paint();
      if (hit) details(hit.properties.name, places.get(`${hit.properties.name}|${data.year}`), data);
    });
    map.on("mouseenter", "regions", () => { map.getCanvas().style.cursor = "pointer"; });
    map.on("mouseleave", "regions", () => { map.getCanvas().style.cursor = ""; });
    if (data.regions.features.length <= MOST_NAMES) {
      for (const { properties } of data.regions.features) new Marker({ element: element("div", { class: "name" }, properties.name) }).setLngLat(properties.at).addTo(map);
    }
  });
}

legend();
ask("map/country.json").then(main).catch(failed);

// A region in a year: footprints over imagery, other layers to switch on, a click tells of a building.
import { ask, at, byId, dagsterPage, element, failed, list, show, start } from "./common.js";

const TITLES = { aerial_tiles: "imagery", predictions: "building probability", labels: "register as labels" };
const SHOWN = new Set(["aerial_tiles"]);
const EMPTY = { type: "FeatureCollection", features: [] };
// where this page lies: .../map/REGION/YEAR/
const [year, region] = location.pathname.split("/").filter(Boolean).slice(-2).reverse().map(decodeURIComponent);
const name = encodeURIComponent(region);

function layers(map, facts) {
  const box = byId("layers");
  const line = (id, title, on) => {
    const input = element("input", { type: "checkbox", name: id });
    input.checked = on;
    input.addEventListener("change", () => {
      for (const layer of map.getStyle().layers) if (layer.id.split(":")[0] === id) map.setLayoutProperty(layer.id, "visibility", input.checked ? "visible" : "none");
    });
    return element("label", {}, input, title);
  };
  box.append(...facts.layers.map(id => line(id, TITLES[id], SHOWN.has(id))));
  if (facts.footprints) box.append(line("footprints", "footprints; the redder, the surer", true));
  const years = facts.years.map(one => one === facts.year ? element("b", {}, `${one} `) : element("a", { href: `map/${name}/${one}/` }, `${one} `));
  box.append(element("p", {}, ...years));
}

function main(facts) {
  const [west, south, east, north] = facts.bounds;
  const sources = { footprints: { type: "geojson", data: EMPTY, promoteId: "id" } };
  const drawn = [];
  for (const id of facts.layers) {
    const tiles = [new URL(`tiles/${id}/${name}/${year}/{z}/{x}/{y}.png`, document.baseURI).href.replaceAll("%7B", "{").replaceAll("%7D", "}")];
    sources[id] = { type: "raster", tiles, tileSize: 256, bounds: facts.bounds, minzoom: facts.least_zoom, maxzoom: facts.most_zoom };
    drawn.push({ id, type: "raster", source: id, layout: { visibility: SHOWN.has(id) ? "visible" : "none" }, paint: { "raster-fade-duration": 0 } });
  }
  const colour = ["interpolate", ["linear"], ["get", "confidence"], 0.4, "#ffd34d", 0.7, "#ff8b3d", 0.95, "#ff2e4d"];
  drawn.push({ id: "footprints:fill", type: "fill", source: "footprints", paint: { "fill-color": colour, "fill-opacity": 0.18 } });
  drawn.push({ id: "footprints:line", type: "line", source: "footprints", paint: { "line-color": colour, "line-width": ["interpolate", ["linear"], ["zoom"], 14, 0.8, 18, 2] } });
  const map = start([[west, south], [east, north]], sources, drawn, { padding: 20, map: { maxZoom: facts.most_zoom + 2, minZoom: facts.least_zoom - 2 } });
  layers(map, facts);

  let asked = 0;
  const refresh = async () => {
    if (!facts.footprints) return;
    const number = ++asked;
    const box = map.getBounds();
    const whole = box.getEast() - box.getWest() >= 360; // across the 180th meridian a box has west > east
    const [left, right] = whole ? [-180, 180] : [box.getWest(), box.getEast()].map(edge => ((edge + 180) % 360 + 360) % 360 - 180);
    const edges = [left, Math.max(-85, box.getSouth()), right, Math.min(85, box.getNorth())];
    const found = await ask(`footprints/${name}/${year}.geojson?bbox=${edges.map(edge => edge.toFixed(6)).join(",")}&zoom=${map.getZoom().toFixed(1)}`);
    if (number !== asked) return; // the map has moved on
    byId("map").dataset.buildings = found.total;
    byId("sum").textContent = found.shown < found.total ? `the largest ${found.shown} of ${found.total} buildings in view` : `${found.total} buildings in view`;
    map.getSource("footprints").setData(found);
  };
  map.on("load", () => refresh().catch(failed));
  map.on("moveend", () => refresh().catch(failed));
  map.on("click", "footprints:fill", event => {
    const { id, confidence, area, image_date: date } = event.features[0].properties;
    const buttons = [element("a", { class: "button second", href: at("building_footprints", region, year) }, "What was made")];
    if (facts.dagster) buttons.push(element("a", { class: "button second", href: dagsterPage(facts.dagster, "building_footprints", region, year) }, "Open in Dagster"));
    show(element("h1", {}, "Building"), list([["id", id], ["confidence", Number(confidence).toFixed(3)], ["area", `${Number(area).toFixed(1)} m²`], ["image", date ?? `${year}, day unknown`]]), ...buttons);
  });
  map.on("mouseenter", "footprints:fill", () => { map.getCanvas().style.cursor = "pointer"; });
  map.on("mouseleave", "footprints:fill", () => { map.getCanvas().style.cursor = ""; });
}

ask(`map/${name}/${year}/facts.json`).then(main).catch(failed);

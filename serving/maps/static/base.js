// What lies below both maps without anybody else's server: ground, degrees; and tiles of a host that the settings name.
const STEPS = [30, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001];
const APART = 220; // pixels between two lines, at most; labels find room
const EMPTY = { type: "FeatureCollection", features: [] };
const DARK = matchMedia("(prefers-color-scheme: dark)");

export const colourNamed = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function underlay(basemap) {
  const sources = { degrees: { type: "geojson", data: EMPTY } };
  const layers = [{ id: "ground", type: "background", paint: { "background-color": colourNamed("--ground") } }];
  if (basemap) {
    sources.basemap = { type: "raster", tiles: [basemap.url], tileSize: 256, maxzoom: 19 };
    layers.push({ id: "basemap", type: "raster", source: "basemap" });
  }
  layers.push({ id: "degrees", type: "line", source: "degrees", paint: { "line-color": colourNamed("--degrees"), "line-width": 1 } });
  return { sources, layers, draw };
}

function draw(map) {
  const refresh = () => degrees(map);
  map.on("moveend", refresh);
  map.on("resize", refresh);
  DARK.addEventListener("change", () => {
    map.setPaintProperty("ground", "background-color", colourNamed("--ground"));
    map.setPaintProperty("degrees", "line-color", colourNamed("--degrees"));
  });
  refresh();
}

function degrees(map) {
  const bounds = map.getBounds();
  const [west, east] = [bounds.getWest(), bounds.getEast()];
  const [south, north] = [Math.max(-85, bounds.getSouth()), Math.min(85, bounds.getNorth())];
  const step = STEPS.find(one => map.getContainer().clientWidth * one / (east - west) <= APART) ?? STEPS.at(-1);
  const digits = Math.max(0, Math.ceil(-Math.log10(step)));
  const on = (low, high) => Array.from({ length: Math.min(80, Math.floor(high / step) - Math.ceil(low / step) + 1) }, (_, i) => (Math.ceil(low / step) + i) * step);
  const meridians = on(west, east);
  const parallels = on(south, north);
  const line = coordinates => ({ type: "Feature", properties: {}, geometry: { type: "LineString", coordinates } });
  map.getSource("degrees").setData({ type: "FeatureCollection", features: [
    ...meridians.map(x => line([[x, south], [x, north]])), ...parallels.map(y => line([[west, y], [east, y]]))] });
  const turned = x => ((x + 180) % 360 + 360) % 360 - 180;
  const label = (text, left, top, kind) => {
    const made = document.createElement("span");
    made.textContent = text;
    made.className = kind;
    made.style.left = left;
    made.style.top = top;
    return made;
  };
  const words = (value, plus, minus) => `${Math.abs(value).toFixed(digits)}° ${value < 0 ? minus : plus}`;
  const middle = (south + north) / 2;
  document.getElementById("degrees").replaceChildren(
    ...meridians.map(x => label(words(turned(x), "E", "W"), `${map.project([x, middle]).x}px`, "", "meridian")),
    ...parallels.map(y => label(words(y, "N", "S"), "", `${map.project([west, y]).y}px`, "parallel")));
}

// Files of a region's footprints to keep: all of them, or what is seen and passes the filter.
import { byId, element } from "./common.js";
import { edges, least } from "./buildings.js";

const NAMES = { ".gpkg": "GeoPackage", ".parquet": "GeoParquet", ".geojson": "GeoJSON", ".csv": "CSV" };

export function downloads(map, region, year, kinds) {
  const path = kind => `download/${encodeURIComponent(region)}/${year}/footprints${kind}`;
  const link = (kind, seen) => {
    const made = element("a", { href: path(kind), download: "" }, NAMES[kind]);
    // the view changes until it is asked for
    if (seen) made.addEventListener("pointerdown", () => { made.href = view(kind); });
    if (seen) made.addEventListener("focus", () => { made.href = view(kind); });
    return made;
  };
  const view = kind => `${path(kind)}?bbox=${edges(map)}&confidence=${least.confidence}&area=${least.area}`;
  const row = (title, seen) => element("p", {}, element("b", {}, `${title}: `), ...kinds.flatMap((kind, i) => i ? [" · ", link(kind, seen)] : [link(kind, seen)]));
  byId("downloads").replaceChildren(...kinds.length ? [row(`all of ${region} ${year}`, false), row("in view, as filtered", true)] : [element("p", { class: "soft" }, "No footprints yet.")]);
}

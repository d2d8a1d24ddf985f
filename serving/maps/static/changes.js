// What became of a region's buildings since the year before: counts, and chips of the most certain changes.
import { at, byId, element } from "./common.js";

export function changes(region, year, found) {
  byId("changes-section").hidden = !found;
  if (!found) return;
  const counts = Object.entries(found.counts).map(([state, count]) => `${count.toLocaleString("en")} ${state}`).join(", ");
  const page = element("a", { href: at("building_changes", region, year) }, "What was made of it");
  const picture = found.picture ? [element("a", { href: found.picture }, element("img", { src: found.picture, alt: `changed buildings of ${region}, before and in ${year}`, loading: "lazy" }))] : [];
  byId("changes").replaceChildren(element("p", {}, counts), ...picture, element("p", {}, page));
}

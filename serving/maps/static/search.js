// One box to find a region, a building by its id, or a place by its coordinates.
import { byId, element } from "./common.js";

const MOST = 8;
const ID = /^[0-9a-f]{16}$/i;

// latitude, longitude, as people copy them; null for what is none
export function coordinates(text) {
  const found = /^\s*(-?\d+(?:\.\d+)?)\s*[,; ]\s*(-?\d+(?:\.\d+)?)\s*$/.exec(text);
  if (!found) return null;
  const [first, second] = [Number(found[1]), Number(found[2])];
  if (Math.abs(first) <= 90 && Math.abs(second) <= 180) return [second, first];
  return Math.abs(second) <= 90 && Math.abs(first) <= 180 ? [first, second] : null;
}

// ways: regions() gives names; toRegion, toBuilding and toPlace go there, toBuilding says whether it is there.
export function searching(ways) {
  const box = byId("query");
  const results = byId("found");
  const offer = (text, go) => element("li", {}, element("button", { type: "button", onclick: async () => { clear(); await go(); } }, text));
  const clear = () => results.replaceChildren();
  const say = text => results.replaceChildren(element("li", { class: "soft", role: "status" }, text));
  const building = async id => {
    say("looking …");
    if (await ways.toBuilding(id.toLowerCase())) clear();
    else say(`No building ${id} ${ways.where()}.`);
  };
  const found = text => {
    const place = coordinates(text);
    if (place) return [offer(`Go to ${place[1]}, ${place[0]}`, () => ways.toPlace(place))];
    if (ID.test(text)) return [offer(`Building ${text}`, () => building(text))];
    const word = text.toLowerCase();
    const names = ways.regions().filter(name => name.toLowerCase().includes(word));
    names.sort((one, other) => Number(other.toLowerCase().startsWith(word)) - Number(one.toLowerCase().startsWith(word)));
    return names.slice(0, MOST).map(name => offer(name, () => ways.toRegion(name)));
  };
  const look = () => {
    const text = box.value.trim();
    const offers = text ? found(text) : [];
    if (text && !offers.length) say("Nothing is called so. A region's name, a building's id (16 signs) or latitude, longitude.");
    else results.replaceChildren(...offers);
    return offers;
  };
  box.addEventListener("input", look);
  byId("search").addEventListener("submit", event => {
    event.preventDefault();
    look()[0]?.querySelector("button").click();
  });
}

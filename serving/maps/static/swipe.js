// Two years beside each other: a second map over the first, cut at a line that a slider moves.
import { beside, byId } from "./common.js";
import { say } from "./permalink.js";

// drawn(year) gives sources and layers of the other year, and asks for its buildings in view.
export function swiping(map, drawn) {
  const state = { other: null, year: null };
  const box = byId("other");
  const divide = byId("divide");
  const cut = () => {
    box.style.clipPath = `inset(0 0 0 ${divide.value}%)`;
    byId("line").style.left = `${divide.value}%`;
    byId("right-year").style.left = `${divide.value}%`;
  };
  const follow = () => state.other?.jumpTo({ center: map.getCenter(), zoom: map.getZoom() });
  const fill = async () => { if (state.other) await state.fill?.(state.other); };

  function leave() {
    state.other?.remove();
    state.other = null;
    state.year = null;
    for (const id of ["other", "line", "right-year", "left-year", "divide"]) byId(id).hidden = true;
    delete byId("map").dataset.swiped;
    say({ swipe: null });
  }

  async function enter(year, left) {
    if (state.other) leave();
    const layers = await drawn(year);
    for (const id of ["other", "line", "right-year", "left-year", "divide"]) byId(id).hidden = false;
    byId("left-year").textContent = left;
    byId("right-year").textContent = year;
    state.year = year;
    state.fill = layers.fill;
    state.other = beside("other", map, layers.sources, layers.layers);
    state.other.on("load", () => { follow(); fill(); });
    state.other.on("idle", () => { byId("map").dataset.swiped = year; });
    window.other = state.other;
    say({ swipe: year });
    cut();
  }

  divide.addEventListener("input", cut);
  map.on("move", follow);
  map.on("moveend", fill);
  return { enter, leave, year: () => state.year, left: year => { byId("left-year").textContent = year; } };
}

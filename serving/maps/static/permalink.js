// The address of what is seen: after its #, for a reload and for whoever gets the link. Not here: who changes what.
const read = () => new URLSearchParams(location.hash.slice(1));

export const said = name => read().get(name);

// null takes a part out of the address.
export function say(changes) {
  const parts = read();
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") parts.delete(name);
    else parts.set(name, value);
  }
  settle(location.pathname, parts);
}

// Another page of the same depth is named, without going there: its year was chosen on this one.
export function rename(path) {
  settle(path, read());
}

export function cleared() {
  settle(location.pathname, new URLSearchParams());
}

function settle(path, parts) {
  const text = parts.toString().replaceAll("%2F", "/").replaceAll("%2C", ",");
  history.replaceState(null, "", path + location.search + (text ? `#${text}` : ""));
}

// zoom/latitude/longitude, as MapLibre and OpenStreetMap write it.
export function view() {
  const [zoom, latitude, longitude] = (said("at") ?? "").split("/").map(Number);
  const right = [zoom, latitude, longitude].every(Number.isFinite) && Math.abs(latitude) <= 90 && zoom >= 0 && zoom <= 25;
  return right ? { bounds: undefined, center: [longitude, latitude], zoom } : {};
}

export function follow(map) {
  map.on("moveend", () => {
    const { lng, lat } = map.getCenter();
    say({ at: [map.getZoom().toFixed(2), lat.toFixed(6), lng.toFixed(6)].join("/") });
  });
  addEventListener("hashchange", () => location.reload()); // somebody wrote another address into the bar
}

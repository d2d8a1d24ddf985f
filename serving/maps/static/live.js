// What changes while a page is open: it asks again, and is told by a tag whether anything did. Bounded: one question at
// a time, none while nobody looks, ever rarer while nobody answers.
const LONGEST = 300; // seconds between two questions of a server that does not answer

export function watch(path, tag, seconds, changed) {
  let known = tag;
  let wait = seconds;
  let timer = null;
  let asking = false;
  const look = async () => {
    clearTimeout(timer);
    if (asking) return;
    asking = true;
    try {
      if (!document.hidden) {
        const answer = await fetch(path(), { cache: "no-cache" });
        if (!answer.ok) throw new Error(answer.status);
        const told = answer.headers.get("etag");
        const data = told === known ? null : await answer.json();
        known = told;
        wait = seconds;
        if (data) await changed(data);
      }
    } catch {
      wait = Math.min(LONGEST, wait * 2);
    }
    asking = false;
    timer = setTimeout(look, wait * 1000);
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  timer = setTimeout(look, wait * 1000);
  return { now: look, knows: other => { known = other; } };
}

// What somebody saw here before, by the browser's own memory; a page that may keep nothing has seen nothing.
export function lastSeen() {
  try {
    return localStorage.getItem("groundplan.seen") ?? "";
  } catch {
    return "";
  }
}

export function seen(time) {
  try {
    if (time > lastSeen()) localStorage.setItem("groundplan.seen", time);
  } catch { /* a private window */ }
}

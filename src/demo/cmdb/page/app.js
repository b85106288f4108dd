// Reads the page again every two seconds while it is visible, and takes over its table.
const INTERVAL = 2000;
const live = document.getElementById("live");

function show(state, text) {
  live.className = state;
  live.textContent = text;
}

async function refresh() {
  const response = await fetch(location.pathname + location.search, { cache: "no-store", signal: AbortSignal.timeout(10000) });
  if (!response.ok) throw new Error(response.status);
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("systems");
  // A selection would be lost.
  if (getSelection().isCollapsed) {
    const old = document.getElementById("systems");
    const left = old.querySelector(".scroll")?.scrollLeft ?? 0;
    const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    old.replaceWith(document.adoptNode(fresh));
    fresh.querySelector(".scroll")?.scrollTo({ left });
    if (focused) [...fresh.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus({ preventScroll: true });
  }
}

async function run() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, INTERVAL));
    if (document.hidden) continue;
    try {
      await refresh();
      show("on", "live");
    } catch {
      show("off", "no answer; trying again");
    }
  }
}

show("on", "live");
run();

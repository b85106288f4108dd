// Reads the page again every two seconds while it is visible, and takes over what changed.
const INTERVAL = 2000;
const live = document.getElementById("live");

function show(state, text) {
  // Only a new text is read aloud.
  if (live.textContent === text) return;
  live.className = state;
  live.textContent = text;
}

// The places of things that a person has scrolled or focused, which a new content would lose.
function places(main) {
  const scrolled = [...main.querySelectorAll(".scroll")].map((box) => [box.getAttribute("aria-label"), box.scrollLeft]);
  const focused = main.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
  return { scrolled: scrolled.filter(([, left]) => left > 0), focused };
}

function restore(main, { scrolled, focused }) {
  const labelled = (label) => [...main.querySelectorAll(".scroll")].find((box) => box.getAttribute("aria-label") === label);
  for (const [label, left] of scrolled) labelled(label)?.scrollTo({ left });
  if (focused) labelled(focused)?.focus({ preventScroll: true });
}

async function refresh() {
  const response = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(10000) });
  if (!response.ok) throw new Error(response.status);
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  document.title = fresh.title;
  const [headline, said] = [document.getElementById("headline"), fresh.getElementById("headline")];
  headline.className = said.className;
  if (headline.textContent !== said.textContent) headline.textContent = said.textContent;
  // A selection would be lost.
  if (!getSelection().isCollapsed) return;
  const [main, next] = [document.getElementById("status"), fresh.getElementById("status")];
  const kept = places(main);
  main.replaceChildren(...next.children);
  restore(main, kept);
}

async function run() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, INTERVAL));
    if (document.hidden) continue;
    try {
      await refresh();
      show("on", "live");
    } catch {
      show("off", "no answer; trying again. This is how it was");
    }
  }
}

document.getElementById("reload").hidden = true;
show("on", "live");
run();

// The registry's page. It only reads. Text from the registry is always set as textContent, never as markup.
const PAGE_SIZE = 50;
const FEED_SIZE = 120;
const STAGES = ["pending", "active", "terminating", "finished"];
const WINDOW_MS = 10 * 60 * 1000;
const BARS = 60;

const $ = (id) => document.getElementById(id);
const view = { cluster: null, owner: null, stage: "", query: "", tokens: [""], total: 0 };
let changes = [];
let last = 0;
let source = null;
let poll = null;
let fresh = new Set();
let started = false;

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

class Refused extends Error {
  constructor(status, detail) { super(detail); this.status = status; }
}

async function ask(path, options) {
  const response = await fetch(path, { credentials: "same-origin", ...options });
  if (response.headers.get("pod-registrar-signed-in")) $("logout").hidden = false;
  if (response.ok) return response.status === 204 ? null : response.json();
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401 && started) { stop(); showLogin(); }
  throw new Refused(response.status, problem.detail || problem.title || response.statusText);
}

const number = new Intl.NumberFormat("en");
const count = (n) => number.format(n ?? 0);

function age(time, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - Date.parse(time)) / 1000));
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86400)}d`;
}

// Runs one refresh at a time, and another one afterwards if changes arrived: a burst of changes costs two requests.
function lazily(work, wait) {
  let timer = null;
  let running = false;
  let again = false;
  const run = async () => {
    timer = null;
    if (running) { again = true; return; }
    running = true;
    try { await work(); } catch (error) { if (!(error instanceof Refused)) setLive("off", "not reachable"); }
    running = false;
    if (again) { again = false; later(); }
  };
  const later = () => { timer ??= setTimeout(run, wait); };
  later.now = () => { clearTimeout(timer); return run(); };
  return later;
}

// --- clusters ---------------------------------------------------------------------------------------------------

const refreshClusters = lazily(async () => {
  const { items } = await ask("/v1/clusters");
  const writers = items.flatMap((cluster) => (cluster.owners ?? []).map((owner) => ({ cluster, owner })));
  const known = writers.some(({ cluster, owner }) => cluster.id === view.cluster && owner.owner === view.owner);
  if (!known && writers.length) {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const chosen = writers.find(({ cluster, owner }) => cluster.id === wanted.get("cluster") && owner.owner === wanted.get("owner"));
    const { cluster, owner } = chosen ?? writers[0];
    select(cluster.id, owner.owner);
  }
  $("clusters").replaceChildren(...writers.map(card));
  $("no-clusters").hidden = writers.length > 0;
  $("board").hidden = writers.length === 0;
}, 700);

function card({ cluster, owner }) {
  const node = make("button", "card panel");
  node.type = "button";
  node.setAttribute("aria-pressed", String(cluster.id === view.cluster && owner.owner === view.owner));
  const pods = make("span", "pods", count(owner.pods));
  pods.append(make("small", "", owner.pods === 1 ? "pod" : "pods"));
  const state = owner.state === "live" ? "live-state" : owner.state;
  const seen = owner.expiresAt && owner.state === "stale" ? ` · expired ${age(owner.expiresAt)} ago` : "";
  const sync = owner.state === "live" ? (owner.synced ? " · in sync" : " · catching up") : "";
  node.append(
    make("span", "name", cluster.name ?? cluster.id),
    make("span", `pill ${state}`, owner.state),
    make("span", "id", cluster.id),
    pods,
    make("span", "facts", `${owner.owner} · session ${owner.epoch}${sync}${seen}`),
  );
  node.title = `Controller: ${owner.instance}`;
  node.addEventListener("click", () => { select(cluster.id, owner.owner); refreshClusters.now(); });
  return node;
}

function select(cluster, owner) {
  Object.assign(view, { cluster, owner, tokens: [""] });
  history.replaceState(null, "", `#${new URLSearchParams({ cluster, owner })}`);
  refreshPods.now();
}

// --- pods -------------------------------------------------------------------------------------------------------

function podsPath(params) {
  const query = new URLSearchParams({ owner: view.owner, ...params });
  return `/v1/clusters/${encodeURIComponent(view.cluster)}/pods?${query}`;
}

const refreshPods = lazily(async () => {
  if (!view.cluster) return;
  const asked = JSON.stringify(view);
  const page = view.tokens.at(-1);
  let body;
  try {
    body = await ask(podsPath({ view: "full", limit: PAGE_SIZE, q: view.query, lifecycle: view.stage, page }));
  } catch (error) {
    if (error.status !== 410) throw error;
    view.tokens = [""];
    return refreshPods();
  }
  // The view changed during the request, so another answer follows.
  if (asked !== JSON.stringify(view)) return;
  showPods(body);
  refreshStages();
}, 400);

function showPods({ items = [], next, count: total }) {
  $("pods").replaceChildren(...items.map(row));
  $("no-pods").hidden = items.length > 0;
  fresh = new Set();
  const first = (view.tokens.length - 1) * PAGE_SIZE;
  $("range").textContent = items.length ? `${count(first + 1)}–${count(first + items.length)} of ${count(total)}` : "";
  $("previous").disabled = view.tokens.length < 2;
  $("next").disabled = !next;
  $("next").onclick = () => { view.tokens.push(next); refreshPods.now(); };
}

function row(record) {
  const { pod, state, placement = {}, containers = [], workload = [], times } = record;
  const node = make("tr", fresh.has(pod.uid) ? "fresh" : "");
  const name = make("td", "text name");
  name.append(make("span", "pod", pod.name), make("span", "sub", pod.namespace));
  const stage = make("td");
  stage.append(make("span", `pill ${STAGES.includes(state.lifecycle) ? state.lifecycle : ""}`, state.lifecycle));
  if (state.reason) stage.append(make("span", "sub why", state.reason));
  const main = containers.filter((one) => one.role !== "init" && one.role !== "ephemeral");
  const ready = main.filter((one) => one.ready).length;
  const restarts = containers.reduce((sum, one) => sum + (one.restarts ?? 0), 0);
  const owner = workload.at(-1);
  const made = make("td", "text");
  made.append(make("span", "", owner?.name ?? "–"), make("span", "sub", owner?.kind ?? ""));
  node.append(
    name, stage,
    make("td", "num", main.length ? `${ready}/${main.length}` : state.ready ? "yes" : "–"),
    make("td", restarts ? "num warn" : "num dim", main.length ? String(restarts) : "–"),
    made,
    make("td", "text node", placement.node ?? "–"),
    make("td", "num dim", age(times.created)),
  );
  // Narrow screens hide the header row. There, each cell shows the header of its column.
  [...node.cells].forEach((cell, column) => { cell.dataset.label = $("columns").cells[column].textContent; });
  node.tabIndex = 0;
  const open = () => showDetail(record);
  node.addEventListener("click", open);
  node.addEventListener("keydown", (event) => { if (event.key === "Enter") open(); });
  return node;
}

function showDetail(record) {
  $("detail-title").textContent = `${record.pod.namespace}/${record.pod.name}`;
  $("detail-body").textContent = JSON.stringify(record, null, 2);
  $("detail").showModal();
}

const refreshStages = lazily(async () => {
  if (!view.cluster) return;
  const read = (lifecycle) => ask(podsPath({ limit: 1, lifecycle, q: view.query })).then((body) => body.count);
  const [all, ...each] = await Promise.all(["", ...STAGES].map(read));
  $("total").textContent = view.query ? `${count(all)} found` : count(all);
  $("share").replaceChildren(...STAGES.map((stage, index) => {
    const part = make("i", stage);
    part.style.flexGrow = String(each[index]);
    return part;
  }));
  $("stages").replaceChildren(...["", ...STAGES].map((stage, index) => {
    const button = make("button", stage);
    button.type = "button";
    button.setAttribute("aria-pressed", String(view.stage === stage));
    button.append(make("i"), make("span", "", stage || "all"), make("b", "", count(index ? each[index - 1] : all)));
    button.addEventListener("click", () => { view.stage = stage; view.tokens = [""]; refreshPods.now(); });
    return button;
  }));
}, 250);

// --- changes ----------------------------------------------------------------------------------------------------

function setLive(state, text) {
  $("live").className = `live ${state}`;
  $("live-text").textContent = text;
}

async function follow() {
  // `asOf` is the number of the last change. Read the thousand changes before it, then follow the events.
  const asOf = view.cluster ? (await ask(podsPath({ limit: 1 }))).asOf : 0;
  let body;
  try {
    body = await ask(`/v1/changes?limit=5000&since=${Math.max(0, asOf - 1000)}`);
  } catch (error) {
    if (error.status !== 410) throw error;
    // The registry keeps fewer than a thousand changes. Read from the oldest.
    body = await ask("/v1/changes?limit=5000");
  }
  take(body.items);
  last = body.next;
  listen();
}

function listen() {
  source = new EventSource(`/v1/changes?since=${last}`);
  source.onopen = () => setLive("on", "live");
  source.onmessage = (event) => { last = Number(event.lastEventId); take([JSON.parse(event.data)], true); };
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED) return setLive("off", "reconnecting");
    // The browser does not retry after a refusal: by a proxy, a limit or a new database. Poll instead.
    source.close();
    poll ??= setInterval(askForChanges, 3000);
    setLive("poll", "polling");
  };
}

async function askForChanges() {
  try {
    const body = await ask(`/v1/changes?since=${last}`);
    last = body.next;
    setLive("poll", "polling");
    if (body.items.length) take(body.items, true);
  } catch (error) {
    if (error.status === 410) { changes = []; last = 0; clearInterval(poll); poll = null; await follow().catch(() => {}); refreshPods(); }
    else if (error.status !== 401) setLive("off", "not reachable");
  }
}

function take(items, isNew = false) {
  changes.push(...items);
  const oldest = Date.now() - WINDOW_MS;
  const firstKept = changes.findIndex((change) => Date.parse(change.at) >= oldest);
  const surplus = firstKept < 0 ? changes.length : firstKept;
  changes.splice(0, Math.min(surplus, Math.max(0, changes.length - FEED_SIZE)));
  if (isNew) {
    for (const change of items) if (change.cluster === view.cluster && change.owner === view.owner) fresh.add(change.id);
    refreshPods();
    refreshClusters();
  }
  showFeed();
}

const showFeed = lazily(async () => {
  const now = Date.now();
  const shown = changes.slice(-FEED_SIZE).reverse();
  $("feed").replaceChildren(...shown.map((change) => {
    const node = make("li", change.op);
    const why = [change.reason, change.observed && `from a ${change.observed}`].filter(Boolean).join(", ");
    node.append(
      make("span", "sign", change.op === "put" ? "+" : "−"),
      make("span", "what", change.name ?? change.id),
      make("span", "where", [change.namespace, why].filter(Boolean).join(" · ")),
      make("time", "when", `${age(change.at, now)} ago`),
    );
    node.title = `#${change.n} · ${change.at} · cluster ${change.cluster} · ${change.owner} · version ${change.epoch}.${change.seq}`;
    return node;
  }));
  $("no-feed").hidden = shown.length > 0;
  drawChart(now);
}, 250);

function drawChart(now) {
  const bars = Array.from({ length: BARS }, () => ({ put: 0, delete: 0 }));
  let minute = 0;
  for (const change of changes) {
    const ago = Math.max(0, now - Date.parse(change.at));
    const index = BARS - 1 - Math.floor((ago / WINDOW_MS) * BARS);
    if (index >= 0 && bars[index]) bars[index][change.op] += 1;
    if (ago < 60_000) minute += 1;
  }
  $("rate").textContent = `${count(minute)} in the last minute`;
  const most = Math.max(4, ...bars.map((bar) => bar.put + bar.delete));
  const width = 300 / BARS;
  const shapes = [];
  bars.forEach((bar, index) => {
    let top = 56;
    for (const op of ["put", "delete"]) {
      if (!bar[op]) continue;
      // The square root keeps small bars visible after a large first burst.
      const sum = bar.put + bar.delete;
      const height = Math.max(2, Math.sqrt(sum / most) * 52 * (bar[op] / sum));
      top -= height;
      const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      rect.setAttribute("class", op);
      for (const [key, value] of Object.entries({ x: index * width + 0.6, y: top, width: width - 1.2, height })) rect.setAttribute(key, value);
      shapes.push(rect);
    }
  });
  $("chart").replaceChildren(...shapes);
}

// --- start and sign-in -------------------------------------------------------------------------------------------

let clock = null;

async function start() {
  try {
    await ask("/v1/clusters");
  } catch (error) {
    if (error.status === 401) return showLogin();
    setLive("off", "not reachable");
    return setTimeout(start, 3000);
  }
  started = true;
  $("login").hidden = true;
  $("main").hidden = false;
  await refreshClusters.now();
  await follow().catch(() => { poll ??= setInterval(askForChanges, 3000); });
  clock = setInterval(() => { refreshClusters(); showFeed(); }, 5000);
}

function stop() {
  started = false;
  source?.close();
  clearInterval(poll);
  clearInterval(clock);
  poll = null;
  changes = [];
}

function showLogin() {
  $("main").hidden = true;
  $("logout").hidden = true;
  $("login").hidden = false;
  setLive("", "signed out");
  $("token").focus();
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = $("token").value;
  $("token").value = "";
  try {
    await ask("/page/login", { method: "POST", body: JSON.stringify({ token }) });
    $("login-error").hidden = true;
    start();
  } catch (error) {
    $("login-error").textContent = error.message;
    $("login-error").hidden = false;
  }
});
$("logout").addEventListener("click", async () => { await ask("/page/logout", { method: "POST" }).catch(() => {}); stop(); showLogin(); });
$("search").addEventListener("input", () => { view.query = $("search").value.trim(); view.tokens = [""]; refreshPods(); });
$("previous").addEventListener("click", () => { view.tokens.pop(); refreshPods.now(); });
$("close").addEventListener("click", () => $("detail").close());
$("detail").addEventListener("click", (event) => { if (event.target === $("detail")) $("detail").close(); });

start();

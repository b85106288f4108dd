// Follows the changes of a cluster's records: node changes.mjs URL CLUSTER CURSOR_FILE
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const [base, cluster, cursor] = process.argv.slice(2);
const token = process.env.REGISTRY_TOKEN;

async function get(path) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(`${base}/v1/${path}`, { headers, signal: AbortSignal.timeout(30_000) });
  if (answer.status === 410) return null; // the changes after the cursor are no longer kept
  if (!answer.ok) throw new Error(`${path}: status ${answer.status}`);
  return answer.json();
}

// All records; then come the changes since its first page, some of them again.
async function inventory() {
  for (let since, page = ""; ; ) {
    const answer = await get(`clusters/${cluster}/pods?limit=5000${page}`);
    if (!answer) return inventory(); // the page is no longer kept
    since ??= answer.asOf;
    for (const item of answer.items) console.log("have", item.id);
    if (!answer.next) return since;
    page = `&page=${encodeURIComponent(answer.next)}`;
  }
}

const text = existsSync(cursor) ? readFileSync(cursor, "utf8") : "";
let since = text ? Number(text) : await inventory(); // an empty file: begin again
for (;;) {
  const answer = await get(`changes?cluster=${cluster}&since=${since}`);
  if (!answer) {
    since = await inventory();
    continue;
  }
  for (const change of answer.items) {
    if (change.owner === "pod-registrar") console.log(change.op, change.id);
  }
  since = answer.next;
  // Last, so that a change that was cut off comes again. Renamed, so that the file is whole.
  writeFileSync(`${cursor}.new`, String(since));
  renameSync(`${cursor}.new`, cursor);
  if (answer.items.length === 0) await sleep(1_000);
}

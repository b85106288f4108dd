// Follows the changes of a cluster's records: node changes.mjs URL CLUSTER CURSOR_FILE
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const [base, cluster, cursor] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${process.env.REGISTRY_TOKEN ?? ""}` };

let since = existsSync(cursor) ? readFileSync(cursor, "utf8") : "";
for (let page = "", asOf; ; ) {
  // Without a cursor: the inventory. Then come the changes since its first page, some of them again.
  const path = since ? `changes?cluster=${cluster}&since=${since}` : `clusters/${cluster}/pods?limit=5000${page}`;
  const response = await fetch(`${base}/v1/${path}`, { headers, signal: AbortSignal.timeout(30_000) });
  if (response.status === 410) {
    [since, page, asOf] = ["", "", undefined]; // no longer kept: begin again
    continue;
  }
  if (!response.ok) throw new Error(`${path}: status ${response.status}`);
  const answer = await response.json();
  if (!since && !page) console.log("inventory");
  for (const item of answer.items) {
    if (!since || item.owner === "pod-registrar") console.log(item.op ?? "have", item.id);
  }
  asOf ??= answer.asOf;
  if (!since && answer.next) {
    page = `&page=${encodeURIComponent(answer.next)}`;
    continue;
  }
  since = String(answer.next ?? asOf);
  // Last, so that a change that was cut off comes again. Renamed, so that the file is whole.
  writeFileSync(`${cursor}.new`, since);
  renameSync(`${cursor}.new`, cursor);
  if (answer.items.length === 0) await sleep(1_000);
}

#!/usr/bin/env python3
"""Follows the changes of a cluster's records: python3 changes.py URL CLUSTER CURSOR_FILE"""
import json, os, sys, time
from urllib import error, parse, request

BASE, CLUSTER, CURSOR = sys.argv[1:]
HEADERS = {"Authorization": "Bearer " + os.environ.get("REGISTRY_TOKEN", "")}

def get(path):  # None if the answer is 410: what was asked for is no longer kept
    try:
        with request.urlopen(request.Request(f"{BASE}/v1/{path}", headers=HEADERS), timeout=30) as answer:
            return json.load(answer)
    except error.HTTPError as refused:
        if refused.code != 410:
            raise

since, page, as_of = open(CURSOR).read() if os.path.exists(CURSOR) else "", "", None
while True:  # without a cursor: the inventory; then come the changes since its first page, some of them again
    answer = get(f"changes?cluster={CLUSTER}&since={since}" if since else f"clusters/{CLUSTER}/pods?limit=5000{page}")
    if answer is None:
        since, page, as_of = "", "", None
        continue
    if not since and not page:
        print("inventory", flush=True)
    for item in answer["items"]:
        if not since or item["owner"] == "pod-registrar":
            print(item["op"] if since else "have", item["id"], flush=True)
    as_of = answer["asOf"] if as_of is None and not since else as_of
    if not since and "next" in answer:
        page = "&page=" + parse.quote(answer["next"], safe="")
        continue
    since = str(answer.get("next", as_of))
    with open(CURSOR + ".new", "w") as new:  # last, so that a change that was cut off comes again
        new.write(since)
    os.replace(CURSOR + ".new", CURSOR)  # whole or not at all
    time.sleep(0 if answer["items"] else 1)

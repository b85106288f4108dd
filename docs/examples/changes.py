#!/usr/bin/env python3
"""Follows the changes of a cluster's records: python3 changes.py URL CLUSTER CURSOR_FILE"""
import json, os, sys, time
from urllib import error, parse, request

BASE, CLUSTER, CURSOR = sys.argv[1:]
HEADERS = {"Authorization": "Bearer " + os.environ["REGISTRY_TOKEN"]} if "REGISTRY_TOKEN" in os.environ else {}

def get(path):  # None if the answer is 410: what was asked for is no longer kept
    try:
        with request.urlopen(request.Request(f"{BASE}/v1/{path}", headers=HEADERS), timeout=30) as answer:
            return json.load(answer)
    except error.HTTPError as refused:
        if refused.code != 410:
            raise

def inventory():  # all records; then come the changes since its first page, some of them again
    since, page = None, ""
    while answer := get(f"clusters/{CLUSTER}/pods?limit=5000{page}"):
        since = answer["asOf"] if since is None else since
        for item in answer["items"]:
            print("have", item["id"], flush=True)
        if "next" not in answer:
            return since
        page = "&page=" + parse.quote(answer["next"])
    return inventory()  # the page is no longer kept

text = open(CURSOR).read() if os.path.exists(CURSOR) else ""
since = int(text) if text else inventory()  # an empty file: begin again
while True:
    answer = get(f"changes?cluster={CLUSTER}&since={since}")
    if answer is None:
        since = inventory()
        continue
    for change in answer["items"]:
        if change["owner"] == "pod-registrar":
            print(change["op"], change["id"], flush=True)
    since = answer["next"]
    with open(CURSOR + ".new", "w") as new:  # last, so that a change that was cut off comes again
        new.write(str(since))
    os.replace(CURSOR + ".new", CURSOR)  # whole or not at all
    time.sleep(0 if answer["items"] else 1)

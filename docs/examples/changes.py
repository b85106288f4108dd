#!/usr/bin/env python3
"""Follows the changes of a cluster's records: python3 changes.py URL CLUSTER CURSOR_FILE"""
import json
import os
import pathlib
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

BASE, CLUSTER, CURSOR = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
HEADERS = {"Authorization": "Bearer " + os.environ["REGISTRY_TOKEN"]} if "REGISTRY_TOKEN" in os.environ else {}


def get(path):  # None if the answer is 410: what was asked for is no longer kept
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{BASE}/v1/{path}", headers=HEADERS), timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code != 410:
            raise
        return None


def inventory():  # all records; then come the changes since its first page, some of them again
    since, page = None, ""
    while True:
        answer = get(f"clusters/{CLUSTER}/pods?limit=5000{page}")
        if answer is None:  # the page is no longer kept: all pages again
            since, page = None, ""
            continue
        since = answer["asOf"] if since is None else since
        for item in answer["items"]:
            print("have", item["id"], flush=True)
        if "next" not in answer:
            return since
        page = "&page=" + urllib.parse.quote(answer["next"])


since = int(CURSOR.read_text()) if CURSOR.exists() else inventory()
while True:
    answer = get(f"changes?cluster={CLUSTER}&since={since}")
    if answer is None:  # the changes after the cursor are no longer kept
        since = inventory()
        continue
    for change in answer["items"]:
        if change["owner"] == "pod-registrar":
            print(change["op"], change["id"], flush=True)
    since = answer["next"]
    CURSOR.write_text(str(since))  # last, so that a change that was cut off comes again
    time.sleep(0 if answer["items"] else 1)

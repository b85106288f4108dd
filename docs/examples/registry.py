#!/usr/bin/env python3
"""The smallest useful registry for pod-registrar. Keeps its records in memory: python3 registry.py [PORT]"""
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import parse_qsl, unquote, urlsplit

LOCK, WRITERS = Lock(), {}  # one writer per (cluster, owner)


def problem(status, name, **members):
    return status, {"type": "urn:pod-registrar:problem:" + name, "status": status, **members}


def fence(writer, epoch):  # only the newest session may write
    if epoch != writer["epoch"]:
        return problem(409, "stale-epoch" if epoch < writer["epoch"] else "unknown-session")


def session(method, writer, query, body):
    if method == "POST":
        writer["epoch"] = max(writer["epoch"], body.get("minEpoch", 0)) + 1
        writer["shown"] = {"instance": body["instance"], "scope": body.get("scope", ""), "state": "live"}
    elif refused := fence(writer, body["epoch"] if body else int(query["epoch"])):
        return refused
    if method == "DELETE":
        writer["shown"]["state"] = "closed"
        return 204, None
    expires = time.gmtime(time.time() + body["ttlSeconds"])
    writer["shown"]["expiresAt"] = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", expires)
    granted = {"epoch": writer["epoch"], "ttlSeconds": body["ttlSeconds"]}
    return 201 if method == "POST" else 200, {**granted, "expiresAt": writer["shown"]["expiresAt"]}


def write(writer, uid, epoch, seq, record):  # the record is None for a deletion
    if refused := fence(writer, epoch):
        return refused
    version, old = writer["pods"].get(uid, ((0, 0), None))
    repeated = (old or {}).get("digest") == (record or {}).get("digest")
    if (epoch, seq) < version or (epoch, seq) == version and not repeated:
        current = {"epoch": version[0], "seq": version[1], **({"digest": old["digest"]} if old else {})}
        return problem(409, "tombstoned" if record and not old else "stale-version", current=current)
    writer["pods"][uid] = ((epoch, seq), record)  # a deletion leaves a tombstone
    writer["changes"] += not repeated
    if record is None:
        return 204, None
    version = {"epoch": epoch, "seq": seq}
    return 200 if old else 201, {"id": uid, "digest": record["digest"], "version": version}


def read(writer, query):
    records = [record for _, (_, record) in sorted(writer["pods"].items()) if record]
    if query.get("view") != "full":
        records = [{"id": r["pod"]["uid"], "digest": r["digest"], "version": r["version"]} for r in records]
    return 200, {"items": records, "count": len(records), "asOf": writer["changes"]}


def answer(method, path, query, body):
    if path == ["v1", "capabilities"]:
        return 200, {"protocol": "v1"}
    if len(path) < 3:
        return problem(404, "not-found")
    key = (path[2], query.get("owner", "pod-registrar"))
    writer = WRITERS.setdefault(key, {"epoch": 0, "changes": 0, "pods": {}, "shown": {}})
    if path[3:] == ["session"]:
        return session(method, writer, query, body)
    if path[3:] == ["pods"]:
        return read(writer, query)
    if len(path) == 3:
        owners = [{"owner": owner, "epoch": of["epoch"], **of["shown"], "pods": read(of, {})[1]["count"]}
                  for (cluster, owner), of in sorted(WRITERS.items()) if cluster == key[0] and of["shown"]]
        return (200, {"id": key[0], "owners": owners}) if owners else problem(404, "not-found")
    if method == "GET":
        record = writer["pods"].get(path[4], (None, None))[1]
        return (200, record) if record else problem(404, "not-found")
    version = body["version"] if body else query
    return write(writer, path[4], int(version["epoch"]), int(version["seq"]), body)


class Handler(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        with LOCK:
            path = [unquote(part) for part in url.path.strip("/").split("/")]
            status, value = answer(self.command, path, dict(parse_qsl(url.query)), json.loads(body or "null"))
        data = json.dumps(value).encode() if value is not None else b""
        self.send_response(status)
        if data:
            self.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
            self.send_header("Content-Length", len(data))
        self.end_headers()
        self.wfile.write(data)

    do_PUT = do_POST = do_DELETE = do_GET

    def log_request(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 7070), Handler)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()

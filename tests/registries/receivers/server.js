// Receives messages on loopback: node server.js PORT FOLDER KIND. It ends when its standard input is closed.
//
// KIND is `webhooks`: the library of Standard Webhooks verifies each message with one of the secrets in
// FOLDER/secrets.json. Or it is `events`: the SDK of CloudEvents parses each event.
//
// A message is kept in FOLDER/messages.jsonl before it is acknowledged. GET /messages shows all of them, and GET
// /refused what was refused.
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { HTTP } = require("cloudevents");
const { Webhook } = require("standardwebhooks");

const [port, folder, kind] = process.argv.slice(2);
process.stdin.on("end", () => process.exit(0)).resume();

const log = path.join(folder, "messages.jsonl");
const refused = [];

function webhooks(headers, body) {
  const secrets = JSON.parse(fs.readFileSync(path.join(folder, "secrets.json"), "utf8"));
  let reason = new Error("no secret");
  for (const secret of secrets) {
    try {
      const message = new Webhook(secret).verify(body, headers);
      return [{ id: headers["webhook-id"], ...message }];
    } catch (error) {
      reason = error;
    }
  }
  throw reason;
}

function events(headers, body) {
  const parsed = HTTP.toEvent({ headers, body });
  const all = Array.isArray(parsed) ? parsed : [parsed];
  return all.map((event) => {
    event.validate();
    return event.toJSON();
  });
}

const receive = { webhooks, events }[kind];

function answer(response, status, body) {
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(JSON.stringify(body));
}

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks).toString();
    if (request.method === "GET") {
      const text = fs.existsSync(log) ? fs.readFileSync(log, "utf8") : "";
      const messages = text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
      return answer(response, 200, request.url === "/refused" ? refused : messages);
    }
    try {
      const mode = request.headers["content-type"];
      const lines = receive(request.headers, body).map((message) => JSON.stringify({ mode, message }) + "\n");
      fs.appendFileSync(log, lines.join(""));
      return answer(response, 202, {});
    } catch (error) {
      refused.push(String(error));
      return answer(response, kind === "webhooks" ? 401 : 400, { error: String(error) });
    }
  });
});
server.listen(Number(port), "127.0.0.1");

// json-server over a file, on loopback: node server.js PORT FILE. It ends when its standard input is closed.
const jsonServer = require("json-server");

const [port, file] = process.argv.slice(2);
process.stdin.on("end", () => process.exit(0)).resume();

const server = jsonServer.create();
server.use(jsonServer.defaults({ logger: false }));
server.use(jsonServer.router(file));
server.listen(Number(port), "127.0.0.1");

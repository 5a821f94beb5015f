// Servers of node's `http` and of npm's `ws` with manners of their own: PEERS=FOLDER node node.mjs
//
// `http` closes connections that are idle for 300 ms, as node's own does after 5 s; `greet` says a word to
// each new WebSocket and then echoes; `push` sends text in between; `login` closes with 4401 instead of the
// first answer. Prints one line of JSON: the address of each. Ends with its standard input.

import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.env.PEERS, 'package.json'));
const { WebSocketServer } = require('ws');

const services = {};

function listen(server, name, scheme) {
  return new Promise((ready) => {
    server.listen(0, '127.0.0.1', () => {
      services[name] = `${scheme}://127.0.0.1:${server.address().port}/`;
      ready();
    });
  });
}

const plain = http.createServer((_, answer) => answer.end('hello'));
plain.keepAliveTimeout = 300;
// Newer versions add a second of their own.
plain.keepAliveTimeoutBuffer = 0;
await listen(plain, 'http', 'http');

const manners = {
  greet(socket) {
    socket.send('{"type":"welcome"}');
    socket.on('message', (data, binary) => socket.send(data, { binary }));
  },
  push(socket) {
    let count = 0;
    socket.on('message', (data, binary) => {
      socket.send(`{"type":"news","number":${count++}}`);
      socket.send(data, { binary });
    });
  },
  login(socket) {
    socket.on('message', () => socket.close(4401, 'login timeout'));
  },
};
for (const [name, behave] of Object.entries(manners)) {
  const server = http.createServer();
  new WebSocketServer({ server, perMessageDeflate: false }).on('connection', behave);
  await listen(server, name, 'ws');
}

console.log(JSON.stringify(services));
process.stdin.on('end', () => process.exit(0)).resume();

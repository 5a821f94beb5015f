// An open-loop client that is not ours: npm's `ws` sends at planned times and times each echo from when
// its message was meant to leave. It prints one line of JSON: p50, p90, p99 and max in milliseconds.
//
//     node open_loop.mjs URL RATE SECONDS CONNECTIONS
//
// NODE_PATH does not hold for modules: `ws` is taken from the folder that PEERS names.

import { once } from 'node:events';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const { WebSocket } = createRequire(join(process.env.PEERS, 'package.json'))('ws');
const [url, rate, seconds, connections] = [process.argv[2], ...process.argv.slice(3).map(Number)];

const sockets = Array.from({ length: connections }, () => new WebSocket(url, { perMessageDeflate: false }));
await Promise.all(sockets.map((socket) => once(socket, 'open')));

const total = Math.floor(rate * seconds);
const times = [];
// Message n is due at begin + n / rate; it carries its number.
const begin = performance.now() + 50;
const due = (number) => begin + (number * 1000) / rate;

const done = new Promise((resolve, reject) => {
  setTimeout(() => reject(new Error(`${times.length} of ${total} echoes came`)), seconds * 1000 + 15_000).unref();
  for (const socket of sockets) {
    socket.on('message', (data) => {
      times.push(performance.now() - due(data.readUInt32LE(0)));
      if (times.length === total) resolve();
    });
    socket.on('close', () => reject(new Error('the server closed a connection')));
    socket.on('error', reject);
  }
});

let next = 0;
function send() {
  // Timers of node come late and in whole milliseconds: whatever is due by now leaves now.
  while (next < total && due(next) <= performance.now()) {
    const message = Buffer.alloc(32);
    message.writeUInt32LE(next, 0);
    sockets[next % connections].send(message);
    next += 1;
  }
  if (next < total) setTimeout(send, Math.max(0, due(next) - performance.now()));
}
setTimeout(send, 40);
await done;
times.sort((a, b) => a - b);
const quantile = (share) => times[Math.min(times.length - 1, Math.ceil(share * times.length) - 1)];
console.log(JSON.stringify({
  count: times.length, p50: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99), max: times.at(-1),
}));
process.exit(0);

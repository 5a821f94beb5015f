// npm's `ws` as a client of our server, and as a server for our client; and a page in Chromium.
//
//     node peers.mjs client URL GUARDED      talks to an echo server in every way it knows; GUARDED lets
//                                            in https://example.test only and speaks superchat and chat
//     node peers.mjs server                  listens on free ports; one line of JSON says where. `echo`
//                                            sends back, `push` sends first and says how that went
//     node peers.mjs page URL CHROMIUM       opens page.html, whose own sockets go to the echo server
//
// NODE_PATH does not hold for modules: `ws` is taken from the folder that PEERS names.

import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import assert from 'node:assert/strict';

const { WebSocket, WebSocketServer } = createRequire(join(process.env.PEERS, 'package.json'))('ws');

const SIZES = [0, 1, 125, 126, 127, 4096, 65535, 65536, 1 << 20, 16 << 20];
const LIMIT = { maxPayload: 64 << 20 };

// Texts and bytes of every length form: some that compress well, some that do not.
function* payloads() {
  for (const size of SIZES) {
    // 19 bytes, over and over.
    yield ['é€😀 and more '.repeat(size / 19) + 't'.repeat(size % 19), false];
    yield [size < 1 << 20 ? randomBytes(size) : Buffer.alloc(size, randomBytes(1 << 16)), true];
  }
}

const say = (text) => console.log(`peers: ${text}`);

// The next message, as [payload, isBinary].
async function next(socket) {
  const signal = AbortSignal.timeout(60_000);
  const [data, isBinary] = await once(socket, 'message', { signal });
  return [isBinary ? data : data.toString(), isBinary];
}

function same(back, [payload, isBinary]) {
  assert.equal(back[1], isBinary, 'text comes back as text, bytes as bytes');
  if (isBinary) assert.ok(back[0].equals(payload), `${payload.length} bytes came back otherwise`);
  else assert.ok(back[0] === payload, `a text of ${payload.length} came back otherwise`);
}

// Sends, in turn and many at once, and wants it all back.
async function exchange(socket) {
  for (const message of payloads()) {
    const back = next(socket);
    socket.send(message[0], { binary: message[1] });
    same(await back, message);
  }
  // Fragments, the second of which ends within a character; compressed only where that was agreed.
  const parts = [Buffer.from('Hel'), Buffer.from('lo, \xe2\x82', 'latin1'), Buffer.from('\xac!', 'latin1')];
  const back = next(socket);
  parts.forEach((part, index) => socket.send(part, { binary: false, fin: index === parts.length - 1 }));
  same(await back, ['Hello, €!', false]);
  const many = [];
  const all = new Promise((resolve) => {
    const collect = (data) => {
      many.push(data.toString());
      if (many.length === 500) resolve(socket.off('message', collect));
    };
    socket.on('message', collect);
  });
  const texts = Array.from({ length: 500 }, (_, number) => `message ${number} `.repeat(5));
  texts.forEach((text) => socket.send(text));
  await all;
  assert.deepEqual(many, texts);
  for (const data of ['', 'a ping', 'p'.repeat(125)]) {
    const pong = once(socket, 'pong', { signal: AbortSignal.timeout(10_000) });
    socket.ping(data);
    assert.equal((await pong)[0].toString(), data);
  }
}

// Fails when the connection ends.
async function lost(socket) {
  const [code, reason] = await once(socket, 'close');
  if (!socket.done) throw new Error(`closed with ${code} ${reason}`);
}

async function closed(socket, code) {
  socket.done = true;
  const close = once(socket, 'close', { signal: AbortSignal.timeout(10_000) });
  socket.close(code, 'that was all');
  assert.equal((await close)[0], code, 'the close code comes back');
}

// ---- As a client -----------------------------------------------------------------------------------

const OFFERS = {
  'no deflate': false,
  deflate: { threshold: 0 },
  'deflate, alone': { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true },
  'deflate, server alone': { threshold: 0, serverNoContextTakeover: true },
  'deflate, small windows': { threshold: 0, serverMaxWindowBits: 10, clientMaxWindowBits: 9 },
};

async function client(url, guarded) {
  for (const [name, perMessageDeflate] of Object.entries(OFFERS)) {
    const socket = new WebSocket(url, { ...LIMIT, perMessageDeflate });
    await once(socket, 'open');
    await Promise.race([exchange(socket), lost(socket)]);
    await closed(socket, 4321);
    say(`ws, ${name}: our server echoes all`);
  }
  const chooses = new WebSocket(guarded, ['unknown', 'chat', 'superchat'], { origin: 'https://example.test' });
  await once(chooses, 'open');
  assert.equal(chooses.protocol, 'superchat');
  await closed(chooses, 1000);
  const stranger = new WebSocket(guarded, { origin: 'https://other.test' });
  const [, reply] = await once(stranger, 'unexpected-response');
  assert.equal(reply.statusCode, 403);
  reply.destroy();
  say('ws: subprotocols are chosen, another origin is refused');
}

// ---- As a server -----------------------------------------------------------------------------------

const ANSWERS = {
  plain: false,
  deflate: { threshold: 0 },
  'deflate-alone': { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true },
  'deflate-small': { threshold: 0, serverMaxWindowBits: 9, clientMaxWindowBits: 10 },
};

async function push(socket) {
  try {
    await Promise.race([exchange(socket), lost(socket)]);
    await closed(socket, 1000);
    console.log(JSON.stringify({ push: 'held' }));
  } catch (error) {
    console.log(JSON.stringify({ push: `${error}` }));
    socket.terminate();
  }
}

async function server() {
  const urls = {};
  for (const [name, perMessageDeflate] of Object.entries(ANSWERS)) {
    for (const service of ['echo', 'push']) {
      const one = new WebSocketServer({ ...LIMIT, host: '127.0.0.1', port: 0, perMessageDeflate });
      one.on('connection', (socket) => {
        if (service === 'push') return push(socket);
        return socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
      });
      await once(one, 'listening');
      urls[`${service} ${name}`] = `ws://127.0.0.1:${one.address().port}/`;
    }
  }
  console.log(JSON.stringify(urls));
  process.stdin.resume().on('end', () => process.exit(0));
}

// ---- A page ----------------------------------------------------------------------------------------

async function page(url, chromium) {
  const text = readFileSync(new URL('page.html', import.meta.url));
  let tell;
  const told = new Promise((resolve) => (tell = resolve));
  const site = createServer(async (request, reply) => {
    if (request.method === 'POST') {
      const parts = await collected(request);
      tell(JSON.parse(Buffer.concat(parts).toString()));
    }
    reply.end(request.url.startsWith('/?') ? text : '');
  });
  site.listen(0, '127.0.0.1');
  await once(site, 'listening');
  const address = `http://127.0.0.1:${site.address().port}/?${encodeURIComponent(url)}`;
  const profile = mkdtempSync(join(tmpdir(), 'c1000k-page-'));
  const options = ['--headless', '--disable-gpu', '--disable-dev-shm-usage', `--user-data-dir=${profile}`];
  // Chromium's sandbox does not start as root; the page is our own.
  if (process.getuid() === 0) options.push('--no-sandbox');
  const browser = spawn(chromium, [...options, address], { stdio: 'ignore' });
  const gone = once(browser, 'exit');
  const late = setTimeout(() => tell({ failed: ['the page has said nothing within 60 s'], passed: [] }), 60_000);
  const { passed, failed } = await Promise.race([told, gone.then(() => ({ failed: ['Chromium has ended'], passed: [] }))]);
  clearTimeout(late);
  browser.kill();
  await gone;
  site.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  for (const line of failed) console.error(`peers: FAILED in Chromium: ${line}`);
  say(`a page in Chromium: ${passed.length} passed, ${failed.length} failed: ${passed.join(', ')}`);
  process.exit(failed.length > 0 || passed.length === 0 ? 1 : 0);
}

async function collected(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

const [what, ...rest] = process.argv.slice(2);
const commands = { client, server, page };
if (!(what in commands)) throw new Error('say client, server or page');
await commands[what](...rest);
if (what === 'client') process.exit(0);

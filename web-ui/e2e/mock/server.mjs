/**
 * The admin API and the built dashboard over HTTP, in front of a make-believe appliance: with login, CSRF
 * token and the policy headers that the real one sends.
 */

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

import { Access, scopesOf } from './access.mjs';
import { AddressRules } from './address_rules.mjs';
import { Appliance } from './appliance.mjs';
import {
  changeVariables,
  checkConfiguration,
  checkVariables,
  configuration,
  explain,
  explainUrl,
} from './configuration.mjs';
import { autopsy, errorGroups, search } from './requests.mjs';
import { boxSeries, madeUpEvents, routeReport, siteSeries } from './series.mjs';

const DIST = fileURLToPath(new URL('../../dist/', import.meta.url));
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };
const POLICY =
  "default-src 'self'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

export const USER = 'admin';
export const PASSWORD = 'correct horse battery staple';

/** Starts everything on free ports (or `port`); `close()` ends it. */
export async function startMock({
  scenario = 'sites',
  port = 0,
  quiet = false,
  pastSamples = 0,
  role = 'admin',
} = {}) {
  const visitors = createServer((request, response) => {
    appliance.visit('blog', request.url);
    response.end('hello\n');
  });
  visitors.listen(0, '127.0.0.1');
  await once(visitors, 'listening');
  const appliance = new Appliance(scenario, `http://127.0.0.1:${visitors.address().port}/`, { quiet });

  const access = new Access();
  const rules = new AddressRules();
  const sessions = new Map();
  const server = createServer((request, response) => {
    response.setHeader('Content-Security-Policy', POLICY);
    response.setHeader('X-Content-Type-Options', 'nosniff');
    handle({ request, response, appliance, access, rules, role, sessions, pastSamples }).catch((error) => {
      response.statusCode = 500;
      response.end(JSON.stringify({ error: String(error), hint: '' }));
    });
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    appliance,
    close() {
      appliance.close();
      for (const one of [server, visitors]) {
        one.closeAllConnections();
        one.close();
      }
    },
  };
}

async function handle(context) {
  const url = new URL(context.request.url, 'http://mock');
  if (!url.pathname.startsWith('/api/v1/')) return sendFile(context.response, url.pathname);
  const session = context.sessions.get(/session=(\w+)/.exec(context.request.headers.cookie ?? '')?.[1]);
  const call = { ...context, url, session, route: url.pathname.slice('/api/v1/'.length).split('/') };
  if (call.route[0] === 'login') return login(call);
  if (!session) return fail(call, 401, 'You are not logged in.', '');
  if (call.request.method !== 'GET' && call.request.headers['x-csrf-token'] !== session.csrf_token) {
    return fail(call, 403, 'The X-CSRF-Token header is missing or wrong.', 'Reload the page.');
  }
  switch (call.route[0]) {
    case 'session':
      return json(call, session);
    case 'users':
    case 'tokens':
    case 'audit':
      return access(call);
    case 'address-rules':
      return addressRules(call);
    case 'logout':
      context.sessions.clear();
      return call.response.writeHead(204).end();
    case 'status':
      return json(call, call.appliance.status());
    case 'events':
      return call.route[1] === 'past' ? pastEvents(call) : events(call);
    case 'series':
      return json(call, boxSeries(call.url.searchParams));
    case 'sites':
      return site(call);
    case 'requests':
      return request(call);
    case 'explain':
      return json(call, explainUrl(call.url.searchParams.get('url')));
    case 'deploy':
      return deploy(call);
    default:
      return fail(call, 404, 'There is no such resource.', '');
  }
}

async function login(call) {
  const { user, password } = await readJson(call.request);
  if (user !== USER || password !== PASSWORD) {
    return fail(
      call,
      401,
      'User or password is wrong.',
      'The first password was printed when onebox first started.',
    );
  }
  const id = randomBytes(16).toString('hex');
  const { role } = call;
  const session = { user, role, scopes: scopesOf(role), csrf_token: randomBytes(16).toString('hex') };
  call.sessions.set(id, session);
  call.response.setHeader('Set-Cookie', `session=${id}; HttpOnly; SameSite=Strict; Path=/`);
  return json(call, session);
}

async function access(call) {
  const body = call.request.method === 'GET' ? {} : await readJson(call.request);
  const answer = call.access.answer(call.request.method, call.route, body, call.url);
  return answer ? json(call, answer) : fail(call, 404, 'There is nobody of this name.', '');
}

async function addressRules(call) {
  const body = call.request.method === 'POST' ? await readJson(call.request) : {};
  const answer = call.rules.answer(call.request.method, call.route, body, call.url);
  return answer ? json(call, answer) : fail(call, 404, 'There is no such rule.', '');
}

async function site(call) {
  const [, name, action] = call.route;
  const { appliance } = call;
  const known = appliance.sites.get(name);
  if (!known) return fail(call, 404, `There is no site called ${name}.`, 'onebox status lists the sites.');
  switch (action) {
    case 'releases':
      return json(call, known.releases);
    case 'errors':
      return json(call, errorGroups(known));
    case 'logs':
      return call.url.searchParams.get('follow') === 'true'
        ? stream(call, [[`line:${name}`, 'line']])
        : json(call, loggedLines(call.appliance, known, call.url.searchParams));
    case 'env':
      return variables(call, known);
    case 'configuration':
      return configured(call, name, known);
    case 'explain':
      return json(call, explain(known));
    case 'maintenance':
      appliance.setMaintenance(name, call.request.method === 'POST');
      return call.response.writeHead(204).end();
    case undefined:
      if (call.request.method === 'DELETE') appliance.remove(name);
      return json(call, known.status);
    case 'routes':
      return json(call, routeReport(known, call.url.searchParams));
    case 'series':
      return json(call, siteSeries(known, call.url.searchParams));
    case 'stop':
    case 'start':
      appliance.setState(name, action === 'stop' ? 'stopped' : 'running');
      return json(call, known.status);
    case 'purge':
      return json(call, { answers: appliance.purge(name, await readJson(call.request)) });
    case 'certificate':
      return json(call, { hosts: appliance.renew(name) });
    case 'restart':
      return ndjson(call, appliance.restart(name));
    case 'rollback':
      return ndjson(call, appliance.rollback(name, (await readJson(call.request)).release));
    default:
      return fail(call, 404, 'There is no such resource.', '');
  }
}

async function deploy(call) {
  let bytes = 0;
  for await (const chunk of call.request) bytes += chunk.length;
  return ndjson(call, call.appliance.deploy(call.url.searchParams.get('name'), bytes));
}

async function variables(call, site) {
  if (call.request.method === 'GET') {
    return json(
      call,
      [...site.variables].map(([name, value]) => ({ name, value })),
    );
  }
  const changes = await readJson(call.request);
  if (call.route[3] === 'check') return json(call, checkVariables(site, changes));
  changeVariables(site, changes);
  return call.response.writeHead(204).end();
}

async function configured(call, name, site) {
  if (call.request.method === 'GET') {
    return json(call, configuration(site, call.session.scopes.includes('deploy')));
  }
  const { release, text } = await readJson(call.request);
  if (release !== site.status.release) {
    const error = `the live release of ${name} is ${site.status.release} by now, and no longer ${release}`;
    return fail(call, 409, error, 'Begin with the configuration of that release.');
  }
  if (call.route[3] === 'check') return json(call, checkConfiguration(site, text));
  return ndjson(call, call.appliance.configure(name, text));
}

function loggedLines(appliance, site, query) {
  if (['status', 'path', 'address', 'request_id'].some((name) => query.has(name)))
    return accessLines(appliance, site, query);
  const [from_ms, to_ms] = [Number(query.get('from_ms')), Number(query.get('to_ms') ?? Infinity)];
  const lines = site.log.filter(({ at_ms }) => at_ms >= from_ms && at_ms < to_ms);
  return lines.slice(-Number(query.get('lines') ?? 100));
}

/** The requests of a site as its access log has them, the last last. */
function accessLines(appliance, site, query) {
  const all = search(appliance, new URLSearchParams({ site: site.status.name, limit: '500' }));
  const [path, status] = [query.get('path'), query.get('status')];
  const pattern = path && new RegExp(`^${path.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`);
  const found = all.filter(
    (one) =>
      (!pattern || pattern.test(one.path)) &&
      [null, String(one.status), `${String(one.status)[0]}xx`].includes(status) &&
      [null, one.client].includes(query.get('address')) &&
      [null, one.request_id].includes(query.get('request_id')),
  );
  const line = ({ at_ms, method, path, status, total_us, client }) => ({
    at_ms,
    source: 'access',
    text: JSON.stringify({ method, path, status, total_ms: total_us / 1000, client, error: null }),
  });
  return found.reverse().map(line);
}

function request(call) {
  const [, id] = call.route;
  if (id === undefined) return json(call, search(call.appliance, call.url.searchParams));
  const known = autopsy(id, call.appliance.sites.get('blog'));
  return known
    ? json(call, known)
    : fail(call, 404, `nothing is known of a request ${id}`, 'An id has 16 digits and letters.');
}

function pastEvents(call) {
  const [from_ms, to_ms] = ['from_ms', 'to_ms'].map((name) => Number(call.url.searchParams.get(name)));
  return json(call, madeUpEvents(call.appliance, from_ms, to_ms, call.url.searchParams.get('site')));
}

function events(call) {
  if (call.appliance.isAway) return call.request.socket.destroy();
  call.appliance.heard.push(call.url.searchParams.get('last_event_id'));
  const send = stream(call, [
    ['sample', 'sample'],
    ['changed', 'changed'],
  ]);
  // For screenshots: charts that are full from the start, with a gap in them.
  for (let age = call.pastSamples; age > 0; age -= 1) {
    if (age < 130 || age > 142) send('sample', call.appliance.sampleAt(Date.now() - age * 1_000));
  }
}

/** Server-sent events: each `[emitted, sent]` pair names what is listened for and how the browser calls it. */
function stream(call, names) {
  call.response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  call.response.write(': hello\n\n');
  const send = (name, payload) => {
    call.appliance.told += 1;
    call.response.write(`id: 1-${call.appliance.told}\nevent: ${name}\ndata: ${JSON.stringify(payload)}\n\n`);
  };
  call.appliance.once('away', () => call.request.socket.destroy());
  for (const [emitted, sent] of names) {
    const listener = (payload) => send(sent, payload);
    call.appliance.on(emitted, listener);
    call.response.on('close', () => call.appliance.off(emitted, listener));
  }
  return send;
}

async function ndjson(call, events) {
  call.response.writeHead(200, { 'Content-Type': 'application/x-ndjson' });
  for await (const event of events) call.response.write(`${JSON.stringify(event)}\n`);
  call.response.end();
}

function json(call, body) {
  call.response.setHeader('Content-Type', 'application/json');
  call.response.end(JSON.stringify(body));
}

function fail(call, status, error, hint) {
  call.response.statusCode = status;
  json(call, { error, hint });
}

async function readJson(request) {
  let text = '';
  for await (const chunk of request) text += chunk;
  return JSON.parse(text || '{}');
}

async function sendFile(response, path) {
  const file = join(DIST, normalize(path === '/' ? '/index.html' : path));
  try {
    const body = await readFile(file);
    response.writeHead(200, { 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream' }).end(body);
  } catch {
    response.writeHead(404).end('not found\n');
  }
}

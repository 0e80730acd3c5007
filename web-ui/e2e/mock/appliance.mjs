/**
 * A make-believe appliance: sites, releases, logs and samples that look and move like real ones. It answers
 * with the shapes of `crates/supervisor/src/api.rs` and knows nothing of HTTP.
 */

import { EventEmitter } from 'node:events';
import { makeCertificates } from './certificates.mjs';
import { initialConfiguration } from './configuration.mjs';
import { makeTraffic } from './series.mjs';

const DAY_MS = 86_400_000;
const PATHS = ['/', '/posts/42', '/static/app.css', '/login', '/api/items?page=2', '/feed.xml'];

function releaseId(atMs, suffix) {
  const text = new Date(atMs).toISOString();
  return `${text.slice(0, 10).replaceAll('-', '')}-${text.slice(11, 19).replaceAll(':', '')}-${suffix}`;
}

function makeReleases(count, problemOfNewest) {
  const suffixes = ['3f2a', 'b81c', '09de', 'c4f7', '7a10'];
  const releases = suffixes.slice(0, count).map((suffix, index) => {
    const created_ms = Date.now() - (index * 1.7 + 0.08) * DAY_MS;
    const traffic = makeTraffic(index + 1);
    return {
      id: releaseId(created_ms, suffix),
      created_ms,
      live: false,
      state: 'ready',
      problem: null,
      traffic,
    };
  });
  if (problemOfNewest)
    Object.assign(releases[0], { state: 'failed', problem: problemOfNewest, traffic: null });
  releases.find((release) => release.state === 'ready').live = true;
  return releases;
}

function makeCache() {
  return {
    hits: 8_120,
    stale: 14,
    revalidated: 310,
    misses: 2_207,
    bypassed: 96,
    hit_ratio: 0.793,
    saved_bytes: 412_000_000,
    from_disk: 0,
    disk_bytes: 0,
    stored_bytes: 9_300_000,
  };
}

/** One site with its traffic: `load` is the mean number of requests a second that visitors make. */
function makeSite({
  name,
  kind,
  mode,
  python,
  url,
  load,
  state = 'running',
  problem = null,
  failedRelease = null,
}) {
  const releases = makeReleases(mode === 'static' ? 2 : 5, failedRelease);
  const live = releases.find((release) => release.live);
  const workers =
    mode === 'static' || state === 'failed'
      ? []
      : Array.from({ length: mode === 'isolated' ? 2 : 1 }, (_, index) => ({
          name: mode === 'embedded' ? 'engine' : `${name}.${index + 1}`,
          pid: 41_200 + Math.floor(Math.random() * 800),
          release: live.id,
          started_ms: live.created_ms + 4_000,
          threads: 4,
          state: 'running',
          requests: 18_204 + index,
          recycles: 0,
          last_recycle: null,
        }));
  const status = {
    name,
    state,
    problem,
    mode,
    release: live.id,
    released_ms: live.created_ms + 6_500,
    domains: [new URL(url).hostname],
    catch_all: false,
    maintenance: false,
    upstreams: [],
    urls: [url],
    kind,
    python,
    workers,
    upstreams: [],
    certificates: makeCertificates(name, new URL(url).hostname),
    cache: mode === 'static' ? null : makeCache(),
  };
  const variables = new Map([['SECRET_KEY', 'hush']]);
  const configuration = initialConfiguration(mode);
  return { status, releases, variables, configuration, log: [], load, visits: 0 };
}

/** What a scenario starts with; `address` is where the mock's own site answers. */
function makeSites(scenario, address) {
  if (scenario === 'empty') return [];
  if (scenario === 'many') {
    return Array.from({ length: 200 }, (_, index) => {
      const name = `site-${String(index + 1).padStart(3, '0')}`;
      const url = `http://${name}.localhost:8080/`;
      return makeSite({ name, kind: 'Flask', mode: 'isolated', python: '3.11.7', url, load: index % 7 });
    });
  }
  return [
    makeSite({ name: 'blog', kind: 'Flask', mode: 'isolated', python: '3.11.7', url: address, load: 42 }),
    makeSite({
      name: 'docs',
      kind: 'static',
      mode: 'static',
      python: null,
      url: 'http://docs.localhost:8080/',
      load: 7,
    }),
    makeSite({
      name: 'intranet',
      kind: 'Django',
      mode: 'isolated',
      python: '3.12.4',
      url: 'https://intranet.example.com/',
      load: 0,
      state: 'failed',
      problem: "ModuleNotFoundError: No module named 'crispy_forms'",
      failedRelease: "ModuleNotFoundError: No module named 'crispy_forms'",
    }),
    makeSite({
      name: 'newsletter-archive-of-the-club',
      kind: 'Django',
      mode: 'isolated',
      python: '3.12.4',
      url: 'https://newsletter-archive-of-the-club.members.example.org/',
      load: 0,
      state: 'stopped',
    }),
  ];
}

/** Emits `sample`, `changed` and `line:SITE`. */
export class Appliance extends EventEmitter {
  constructor(scenario, address, { quiet = false } = {}) {
    super();
    this.setMaxListeners(0);
    this.startedMs = Date.now() - 3.2 * DAY_MS;
    this.sites = new Map(makeSites(scenario, address).map((site) => [site.status.name, site]));
    if (quiet) for (const site of this.sites.values()) site.load = 0;
    this.phase = 0;
    /** Events that were sent, and the ids that those named who came back. */
    this.told = 0;
    this.heard = [];
    this.isAway = false;
    for (const site of this.sites.values()) this.#pretendPast(site);
    this.timer = setInterval(() => this.#tick(), 1_000);
  }

  /** Whether it can be reached by those who watch; all who do are cut off. */
  setAway(isAway) {
    this.isAway = isAway;
    if (isAway) this.emit('away');
  }

  close() {
    clearInterval(this.timer);
  }

  status() {
    return {
      version: '0.1.0',
      pid: 41_117,
      started_ms: this.startedMs,
      state_dir: '/var/lib/onebox',
      http: ['0.0.0.0:80'],
      https: ['0.0.0.0:443'],
      admin: ['127.0.0.1:8081'],
      engine: { generation: 7, pid: 41_130, started_ms: this.startedMs + 400, crashes: 0 },
      sites: this.siteStatuses(),
    };
  }

  siteStatuses() {
    return [...this.sites.values()].map((site) => site.status);
  }

  /** A real request that somebody made to the mock's own site. */
  visit(name, path) {
    const site = this.sites.get(name);
    if (!site) return;
    site.visits += 1;
    this.#log(site, 'access', `127.0.0.1 "GET ${path} HTTP/1.1" 200 1204 3.1ms`);
  }

  setState(name, state) {
    this.sites.get(name).status.state = state;
    this.emit('changed', {});
  }

  /** Everything but a tag that nothing has. */
  purge(name, what) {
    const { cache } = this.sites.get(name).status;
    const answers = what.tag === undefined ? 42 : 0;
    if (answers > 0) cache.stored_bytes = 0;
    return answers;
  }

  renew(name) {
    const { certificates } = this.sites.get(name).status;
    const ordered = certificates.find(({ source }) => source === 'acme');
    ordered.is_ordering = true;
    return ordered.names;
  }

  async *deploy(name, bytes) {
    const started = Date.now();
    yield { event: 'step', step: 'copy', text: `Unpack ${bytes} bytes` };
    await pause(200);
    const url = `http://${name}.localhost:8080/`;
    const site = makeSite({ name, kind: 'static', mode: 'static', python: null, url, load: 1 });
    this.sites.set(name, site);
    this.emit('changed', {});
    yield this.#done(site, started);
  }

  setMaintenance(name, on) {
    this.sites.get(name).status.maintenance = on;
    this.emit('changed', {});
  }

  remove(name) {
    this.sites.delete(name);
    this.emit('changed', {});
  }

  async *restart(name) {
    const site = this.sites.get(name);
    const started = Date.now();
    this.setState(name, 'starting');
    yield { event: 'step', step: 'start', text: 'Start new workers' };
    await pause(400);
    yield { event: 'step', step: 'health', text: 'Check GET / through the proxy' };
    await pause(300);
    if (site.status.problem) {
      this.setState(name, 'failed');
      yield {
        event: 'failed',
        step: 'start',
        reason: `The application could not be imported: ${site.status.problem}`,
        detail: `Traceback (most recent call last):\n  File "/var/lib/onebox/sites/${name}/releases/${site.status.release}/app/intranet/wsgi.py", line 4, in <module>\n    from crispy_forms import layout\n${site.status.problem}`,
        hint: 'Add the package to requirements.txt and deploy again.',
      };
      return;
    }
    yield { event: 'step', step: 'switch', text: 'Move the traffic and drain the old workers' };
    await pause(200);
    for (const worker of site.status.workers)
      Object.assign(worker, { started_ms: Date.now(), pid: worker.pid + 7 });
    this.setState(name, 'running');
    this.#log(site, 'onebox', `restarted release ${site.status.release}`);
    yield this.#done(site, started);
  }

  async *configure(name, text) {
    const site = this.sites.get(name);
    const started = Date.now();
    const release = { ...site.releases[0], id: releaseId(started, 'c0f9'), created_ms: started, live: true };
    yield { event: 'step', step: 'copy', text: `Release ${release.id} of ${name}: 12 files, 40 KB` };
    await pause(300);
    yield { event: 'step', step: 'health', text: 'Check GET / through the proxy' };
    await pause(200);
    for (const one of site.releases) one.live = false;
    site.releases.unshift(release);
    site.configuration = text;
    Object.assign(site.status, { release: release.id, released_ms: started, state: 'running' });
    this.emit('changed', {});
    yield this.#done(site, started);
  }

  async *rollback(name, release) {
    const site = this.sites.get(name);
    const started = Date.now();
    const target = site.releases.find((one) =>
      release ? one.id === release : !one.live && one.state === 'ready',
    );
    yield { event: 'step', step: 'start', text: `Start release ${target.id}` };
    await pause(400);
    yield { event: 'step', step: 'health', text: 'Check GET / through the proxy' };
    await pause(300);
    for (const one of site.releases) one.live = one === target;
    Object.assign(site.status, { release: target.id, released_ms: Date.now(), state: 'running' });
    this.emit('changed', {});
    yield { event: 'step', step: 'switch', text: 'Move the traffic and drain the old workers' };
    yield this.#done(site, started);
  }

  #done(site, started) {
    const { name, release, urls } = site.status;
    return { event: 'done', site: name, release, urls, total_ms: Date.now() - started };
  }

  #pretendPast(site) {
    const start = Date.now() - 90_000;
    for (let index = 0; index < 60; index += 1) {
      const at_ms = start + index * 1_400;
      const path = PATHS[index % PATHS.length];
      site.log.push(
        index % 9 === 4
          ? { at_ms, source: 'app', text: `INFO mail: queued newsletter ${100 + index} for 3 recipients` }
          : {
              at_ms,
              source: 'access',
              text: `203.0.113.${index} "GET ${path} HTTP/1.1" 200 ${900 + index * 31} 3.${index % 10}ms`,
            },
      );
    }
    if (!site.status.problem) return;
    const at_ms = Date.now() - 4_000;
    const trace = [
      'Traceback (most recent call last):',
      '  File "/var/lib/onebox/sites/intranet/app/intranet/wsgi.py", line 4, in <module>',
      '    from crispy_forms import layout',
      site.status.problem,
    ];
    site.log.push(...trace.map((text) => ({ at_ms, source: 'error', text })));
  }

  #log(site, source, text) {
    const line = { at_ms: Date.now(), source, text };
    site.log.push(line);
    this.emit(`line:${site.status.name}`, line);
  }

  #tick() {
    this.phase += 1;
    this.emit('sample', this.sampleAt(Date.now()));
    for (const site of this.sites.values()) {
      if (site.status.state !== 'running' || site.load === 0) continue;
      const path = PATHS[this.phase % PATHS.length];
      this.#log(site, 'access', `198.51.100.${this.phase % 250} "GET ${path} HTTP/1.1" 200 1388 2.7ms`);
      if (this.phase % 7 === 0)
        this.#log(site, 'app', 'INFO worker: refreshed the front page cache in 12 ms');
    }
  }

  sampleAt(at_ms) {
    const sites = [...this.sites.values()].map((site) => {
      const wave = 1 + 0.35 * Math.sin(at_ms / 21_000) + 0.25 * (Math.random() - 0.5);
      const running = site.status.state === 'running';
      const rate = running ? Math.round(site.load * wave) + site.visits : 0;
      site.visits = 0;
      const share = site.status.mode === 'static' ? 1 : 0.4;
      return {
        site: site.status.name,
        requests_per_s: rate,
        static_per_s: Math.round(rate * share),
        errors_per_s: rate > 30 && Math.random() < 0.06 ? 2 : 0,
        p50_ms: rate ? 2.4 + Math.random() * 0.9 : 0,
        p99_ms: rate ? 9 + Math.random() * 8 + (Math.random() < 0.05 ? 30 : 0) : 0,
        in_flight: running ? Math.round(rate * 0.05) : 0,
      };
    });
    return {
      at_ms,
      sites,
      memory_bytes: 96_400_000 + Math.random() * 2e6,
      cpu: 0.034 + Math.random() * 0.02,
    };
  }
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

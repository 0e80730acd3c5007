/** Made-up history with the shapes of `crates/supervisor/src/api/series.rs`: waves, noise, and a gap. */

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const STEPS_S = [1, 10, 60, 300, 3600, 7200];

/** The same for the same moment, so that a chart that is asked for anew does not jump. */
function noise(at_ms, seed) {
  const value = Math.sin(at_ms * 12.9898 + seed * 78.233) * 43758.5453;
  return value - Math.floor(value);
}

/** The span that a query names: its length, and its end where that is not now. */
function toSpan(query) {
  const [from_ms, to_ms] = ['from_ms', 'to_ms'].map((name) => Number(query.get(name)));
  return from_ms ? { span_ms: to_ms - from_ms, end_ms: to_ms } : { span_ms: Number(query.get('span_ms')) };
}

/** Calls `value(at_ms)` for each point of a span; what is between 42 and 46 % of it was not measured. */
function grid({ span_ms, end_ms = Date.now() }, value) {
  const step_ms = STEPS_S.map((step_s) => step_s * 1000).find((step) => span_ms / step <= 400);
  const to_ms = Math.floor((end_ms - 1) / step_ms) * step_ms;
  const points = Math.floor(span_ms / step_ms);
  const from_ms = to_ms - (points - 1) * step_ms;
  const curve = (pick) =>
    Array.from({ length: points }, (_, index) =>
      index > points * 0.42 && index < points * 0.46 ? null : round(pick(from_ms + index * step_ms)),
    );
  return { from_ms, step_ms, ...value(curve) };
}

function round(value) {
  return value === null ? null : Math.round(value * 1000) / 1000;
}

function gauge(curve, pick) {
  return {
    mean: curve(pick),
    min: curve((at) => 0.9 * pick(at)),
    max: curve((at) => Math.min(1.2 * pick(at), pick(at) + 0.1 * Math.abs(pick(at)))),
  };
}

function wave(at_ms, span_ms, seed) {
  return 1 + 0.4 * Math.sin((at_ms / span_ms) * 17 + seed) + 0.3 * (noise(at_ms, seed) - 0.5);
}

function processSeries(curve, process, span_ms, { cpu, megabytes, threads }) {
  const seed = process.length;
  return {
    process,
    cpu: curve((at) => cpu * wave(at, span_ms, seed)),
    memory_bytes: gauge(curve, (at) => megabytes * 1_048_576 * (1 + 0.05 * noise(at, seed))),
    resident_bytes: gauge(curve, () => megabytes * 1_400_000),
    threads: gauge(curve, () => threads),
    descriptors: gauge(curve, () => 20 + threads * 3),
    gil_stalled: curve((at) => (process === 'blog.1' && noise(at, 28) < 0.1 ? 0.3 : 0)),
    gil_longest_ms: curve((at) => (process === 'blog.1' && noise(at, 28) < 0.1 ? 310 : 0)),
  };
}

export function siteSeries(site, query) {
  const span = toSpan(query);
  const { span_ms } = span;
  const { load, status } = site;
  const running = status.state === 'running';
  return grid(span, (curve) => {
    const rate = (share, seed) => curve((at) => (running ? load * share * wave(at, span_ms, seed) : 0));
    const rare = (share, seed) => curve((at) => (running && noise(at, seed) < 0.06 ? load * share : 0));
    const ms = (middle, seed) =>
      curve((at) => (running && load > 0 ? middle * wave(at, span_ms, seed) : null));
    const none = curve(() => 0);
    return {
      responses_per_s: {
        none,
        '1xx': none,
        '2xx': rate(0.8, 1),
        '3xx': rate(0.12, 2),
        '4xx': rate(0.05, 3),
        '5xx': rare(0.12, 4),
      },
      static_per_s: rate(0.4, 5),
      busiest_per_s: rate(2, 6),
      bytes_in_per_s: rate(700, 7),
      bytes_out_per_s: rate(24_000, 8),
      in_flight: rate(0.03, 9),
      limited_per_s: rare(0.02, 27),
      cache_per_s: {
        hit: rate(0.3, 21),
        stale: rate(0.01, 22),
        revalidated: rate(0.04, 23),
        miss: rate(0.12, 24),
        bypass: rate(0.05, 25),
      },
      hit_ratio: curve((at) => (running && load > 0 ? 0.74 + 0.1 * noise(at, 26) : null)),
      latency_ms: { p50: ms(3.1, 10), p95: ms(11, 11), p99: ms(24, 12) },
      phases_ms: {
        tls: ms(0.25, 18),
        accept: ms(0.2, 13),
        queue: ms(0.9, 14),
        app: ms(3.4, 15),
        body: ms(0.6, 16),
        send: ms(0.3, 17),
      },
      processes: status.workers.map((worker) =>
        processSeries(curve, worker.name, span_ms, { cpu: 0.08, megabytes: 46, threads: 7 }),
      ),
    };
  });
}

export function boxSeries(query) {
  const span = toSpan(query);
  const { span_ms } = span;
  return grid(span, (curve) => ({
    cpu: gauge(curve, (at) => 0.22 * wave(at, span_ms, 1)),
    memory_bytes: gauge(curve, (at) => 2.1e9 * (1 + 0.04 * noise(at, 2))),
    memory_total_bytes: curve(() => 4_110_000_000),
    disk_bytes: gauge(curve, (at) => 31e9 + ((at % DAY_MS) / DAY_MS) * 2e9),
    disk_total_bytes: curve(() => 80e9),
    load: gauge(curve, (at) => 0.6 * wave(at, span_ms, 3)),
    received_bytes_per_s: curve((at) => 90_000 * wave(at, span_ms, 4)),
    sent_bytes_per_s: curve((at) => 1_400_000 * wave(at, span_ms, 5)),
    dropped_per_s: {
      malformed: curve((at) => (noise(at, 6) < 0.2 ? 0.4 : 0)),
      slow: curve((at) => (noise(at, 7) < 0.05 ? 0.2 : 0)),
      handshake: curve((at) => 0.3 * noise(at, 8)),
      flood: curve(() => 0),
      crowd: curve(() => 0),
      in_the_way: curve(() => 0),
      no_room: curve(() => 0),
      no_memory: curve(() => 0),
      refused: curve((at) => 1.5 * noise(at, 9)),
    },
    processes: [
      ['blog.1', { cpu: 0.09, megabytes: 46, threads: 7 }],
      ['blog.2', { cpu: 0.07, megabytes: 45, threads: 7 }],
      ['engine', { cpu: 0.12, megabytes: 21, threads: 9 }],
      ['supervisor', { cpu: 0.004, megabytes: 15, threads: 6 }],
    ].map(([name, figures]) => processSeries(curve, name, span_ms, figures)),
  }));
}

/** A day's events over and over, and those that have just happened; each kind comes. */
export function madeUpEvents(appliance, from_ms, to_ms, site) {
  const daily = [
    [3.1, 'worker-crash', 'blog', 'worker blog.1 was killed (signal 9); next start in 100ms'],
    [9.6, 'deploy-failed', 'intranet', "deploy failed: ModuleNotFoundError: No module named 'crispy_forms'"],
    [10.4, 'deploy', 'blog', 'release 20261120-102400-3f2a is live'],
    [15.2, 'configuration', 'blog', 'variables set: SECRET_KEY, DATABASE_URL'],
    [
      18.9,
      'engine-crash',
      null,
      'the engine crashed (signal 11, segmentation fault); the next one starts in 100ms',
    ],
  ];
  const events = [];
  const now = Date.now();
  const recent = [
    [now - 3.4 * MINUTE_MS, 'deploy', 'blog', 'release 20261121-134210-b81c is live'],
    [now - 1.2 * MINUTE_MS, 'restart', 'blog', 'restarted'],
  ];
  for (const [at_ms, kind, of_site, text] of recent) events.push({ at_ms, kind, site: of_site, text });
  for (let day = Math.floor(from_ms / DAY_MS); day * DAY_MS < to_ms; day += 3) {
    for (const [hour, kind, of_site, text] of daily) {
      events.push({ at_ms: day * DAY_MS + hour * 3_600_000, kind, site: of_site, text });
    }
  }
  return events
    .filter(({ at_ms }) => at_ms >= from_ms && at_ms < Math.min(to_ms, now + 1_000))
    .filter((event) => site === null || event.site === null || event.site === site)
    .filter((event) => appliance.sites.size > 0 || event.site === null)
    .map((event) => ({ release: null, ...event }))
    .sort((one, other) => one.at_ms - other.at_ms);
}

/** What some requests came to; the heavier, the slower. */
export function makeTraffic(weight) {
  const [requests, errors] = [4_100 * weight, weight % 2 ? 3 * weight : 0];
  const phase = (ms) => ({ p50: 0.8 * ms, p95: 2.1 * ms, p99: 4.4 * ms });
  return {
    requests,
    errors,
    responses: { none: 0, '1xx': 0, '2xx': requests - errors, '3xx': 0, '4xx': 0, '5xx': errors },
    bytes_in: 700 * requests,
    bytes_out: 40_000 * weight,
    p50_ms: 0.4 * weight,
    p95_ms: 1.9 * weight,
    p99_ms: 6.1 * weight,
    phases_ms: { tls: 0.1, accept: 0.2, queue: 0.02 * weight, app: 0.35 * weight, body: 0.6, send: 0.3 },
    phase_latency_ms: {
      tls: null,
      accept: phase(0.2),
      queue: phase(0.02 * weight),
      app: phase(0.35 * weight),
      body: phase(0.6),
      send: phase(0.3),
    },
  };
}

/** Where the time of a site goes. */
export function routeReport(site, query) {
  const { span_ms, end_ms = Date.now() } = toSpan(query);
  const to_ms = Math.ceil(end_ms / MINUTE_MS) * MINUTE_MS;
  const from_ms = Math.floor((end_ms - span_ms) / MINUTE_MS) * MINUTE_MS;
  const weights = { '/posts/*': 40, '/': 22, '/search': 14, '/api/items/*': 9, '/feed.xml': 5, '/login': 4 };
  const routes = Object.entries({ ...weights, '/static/*': 3, other: 2, '/about': 1 });
  const figures = routes.map(([route, weight], index) => ({
    ...makeTraffic(weight),
    route,
    requests: Math.ceil(((site.load || 1) * span_ms) / 100_000 / (index + 1)),
    errors: index === 0 ? 12 : 0,
    time_share: weight / 100,
  }));
  return { from_ms, to_ms, routes: site.status.state === 'running' ? figures : [] };
}

/** Made-up failures, and the requests that they belong to. */

const HOUR_MS = 3_600_000;
const PACKAGES = 'venv/lib/python3.11/site-packages';

const frame = (file, line, name, source) => ({ file, line, function: name, source });

const FAILURES = [
  {
    id: '7m3k9q0x2v5c8b1n',
    kind: 'exception',
    status: 500,
    path: '/posts/42/comments',
    ageHours: 0.1,
    count: 1284,
    place: 'blog/views.py:88 in comments',
    printed: 'looking for post 42\nWARNING cache is cold, asking the database\n',
    raised: [
      {
        type: 'sqlite3.OperationalError',
        message: 'no such column: comment.author',
        after: null,
        frames: [
          frame('blog/store.py', 31, 'rows', 'return connection.execute(statement, values).fetchall()'),
        ],
      },
      {
        type: 'blog.errors.StoreError',
        message: 'comments of post 42 could not be read',
        after: 'cause',
        frames: [
          frame(`${PACKAGES}/flask/app.py`, 917, 'full_dispatch_request', 'rv = self.dispatch_request()'),
          frame(
            'blog/views.py',
            88,
            'comments',
            'raise StoreError(f"comments of post {post} could not be read") from error',
          ),
        ],
      },
    ],
  },
  {
    id: '0c4d8f2h6k1m5p9r',
    kind: 'deadline',
    status: 504,
    path: '/feed.xml',
    ageHours: 5,
    count: 3,
    place: 'blog/feed.py:19 in fetch',
    printed: '',
    raised: [
      {
        type: 'DeadlineExceeded',
        message: 'the request passed its deadline (`harakiri`)',
        after: null,
        frames: [frame('blog/feed.py', 19, 'fetch', 'answer = connection.recv(65536)')],
      },
    ],
  },
];

function failure(id) {
  return FAILURES.find((known) => known.id === id);
}

export function errorGroups(site) {
  if (site.status.name !== 'blog') return [];
  return FAILURES.map((known) => ({
    fingerprint: known.id,
    kind: known.kind,
    type: known.raised.at(-1).type,
    message: known.raised.at(-1).message,
    place: known.place,
    release: site.status.release,
    request_id: known.id,
    count: known.count,
    first_ms: Date.now() - (known.ageHours + 70) * HOUR_MS,
    last_ms: Date.now() - known.ageHours * HOUR_MS,
  }));
}

/** `undefined` where nothing is known of it. */
export function autopsy(id, site) {
  const known = failure(id);
  if (!known) return undefined;
  const at_ms = Date.now() - known.ageHours * HOUR_MS;
  const { kind, path, place, raised, printed, status } = known;
  const release = site.status.release;
  return {
    request_id: id,
    request: {
      request_id: id,
      at_ms,
      site: 'blog',
      release,
      method: 'GET',
      path,
      status,
      served_by: 'proxy',
      error: kind === 'deadline' ? 'no answer within 60s' : `the application failed: ${raised.at(-1).type}`,
      bytes_in: 412,
      bytes_out: 731,
      tls_us: 1800,
      accept_us: 120,
      queue_us: 1_450,
      app_us: kind === 'deadline' ? 60_000_000 : 18_300,
      body_us: null,
      send_us: 90,
      total_us: kind === 'deadline' ? 60_001_660 : 19_960,
      client: '192.0.2.7',
      user_agent: 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
    },
    failures: [
      {
        at_ms,
        kind,
        site: 'blog',
        release,
        worker: 'blog.1',
        request_id: id,
        method: 'GET',
        path,
        age_ms: 18,
        fingerprint: id,
        place,
        raised,
        printed,
      },
    ],
    advice: null,
    log: [{ at_ms, source: 'error', text: `GET ${path} failed (request ${id})` }],
  };
}

const PATHS = ['/', '/posts/42', '/static/app.css', '/login', '/api/items', '/feed.xml'];

/** Requests that came every seven seconds, to one site after the other, with those that failed among them. */
function madeUp(appliance, number) {
  const names = [...appliance.sites.keys()];
  const site = appliance.sites.get(names[number % names.length]);
  const failed = number % 13 === 0;
  const { request } = autopsy('7m3k9q0x2v5c8b1n', site);
  return {
    ...request,
    request_id: failed ? '7m3k9q0x2v5c8b1n' : String(number).padStart(16, '0'),
    at_ms: number * 7_000,
    site: site.status.name,
    path: PATHS[number % PATHS.length],
    status: failed ? 500 : number % 11 === 0 ? 404 : 200,
    served_by: site.status.mode === 'static' ? 'static' : 'app',
    worker: site.status.workers[0]?.name ?? null,
    error: failed ? request.error : null,
    total_us: failed ? request.total_us : 900 + ((number * 7_919) % 9_000),
  };
}

/** What a query of `GET /api/v1/requests` asks for, the last first. */
export function search(appliance, query) {
  if (appliance.sites.size === 0) return [];
  const last = Math.floor(Math.min(Number(query.get('to_ms') ?? Infinity) - 1, Date.now()) / 7_000);
  const first = Math.max(Number(query.get('from_ms')), Date.now() - 8 * HOUR_MS) / 7_000;
  const found = [];
  for (let number = last; number >= first && found.length < Number(query.get('limit') ?? 100); number -= 1) {
    const request = madeUp(appliance, number);
    const wanted =
      [null, request.site].includes(query.get('site')) &&
      request.path.includes(query.get('path') ?? '') &&
      [null, `${String(request.status)[0]}xx`].includes(query.get('status')) &&
      request.total_us >= 1000 * Number(query.get('slower_ms'));
    if (wanted && !found.some((known) => known.request_id === request.request_id)) found.push(request);
  }
  return found;
}

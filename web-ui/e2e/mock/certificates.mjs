/** Certificates of make-believe sites: one that is well, one whose order fails, one of the box's own authority. */

const DAY_MS = 86_400_000;

/** What answers to a site's host over TLS. */
export function makeCertificates(name, host) {
  const now = Date.now();
  const nothing = {
    issuer: null,
    not_before_ms: null,
    not_after_ms: null,
    renews_ms: null,
    is_ordering: false,
    problem: null,
    next_try_ms: null,
  };
  const made = { ...nothing, not_before_ms: now - 12 * DAY_MS };
  const internal = {
    ...made,
    source: 'internal',
    names: [`${name}.localhost`],
    issuer: 'onebox on nas',
    not_after_ms: now + 18 * DAY_MS,
  };
  if (name === 'docs') return [internal];
  if (name === 'intranet') {
    const problem = `${host} is not proven: acme:error:connection: Fetching http://${host}/.well-known/acme-challenge/x: Connection refused`;
    return [{ ...nothing, source: 'acme', names: [host], problem, next_try_ms: now + 300_000 }, internal];
  }
  if (name.startsWith('newsletter')) {
    return [{ ...nothing, source: 'acme', names: [host], is_ordering: true }, internal];
  }
  const life = { not_after_ms: now + 78 * DAY_MS, renews_ms: now + 48 * DAY_MS };
  return [
    { ...made, ...life, source: 'acme', names: ['blog.example.org', 'www.blog.example.org'], issuer: 'R11' },
    internal,
  ];
}

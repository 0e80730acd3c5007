/** Which page is shown, from the address's fragment, so that every page is a link. */

export type Route = { page: 'overview' } | { page: 'site'; name: string } | { page: 'unknown' };

export function parseRoute(hash: string): Route {
  const parts = hash.replace(/^#?\/?/, '').split('/');
  if (parts.length === 1 && parts[0] === '') return { page: 'overview' };
  if (parts.length === 2 && parts[0] === 'sites' && parts[1]) {
    try {
      return { page: 'site', name: decodeURIComponent(parts[1]) };
    } catch {
      return { page: 'unknown' };
    }
  }
  return { page: 'unknown' };
}

/** The link to a site's page. */
export function siteHref(name: string): string {
  return `#/sites/${encodeURIComponent(name)}`;
}

class RouteState {
  current = $state.raw<Route>(parseRoute(location.hash));

  constructor() {
    addEventListener('hashchange', () => (this.current = parseRoute(location.hash)));
  }
}

export const route = new RouteState();

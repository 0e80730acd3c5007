/** Which page is shown, from the address's fragment, so that every page is a link. */

import { toSpan, type Span } from '../charts/span';

export type Route =
  | { page: 'overview' }
  | { page: 'box'; span: Span }
  | { page: 'access' }
  | { page: 'site'; name: string; span: Span }
  | { page: 'request'; id: string }
  | { page: 'unknown' };

export function parseRoute(hash: string): Route {
  const [path = '', query] = hash.replace(/^#?\/?/, '').split('?');
  const span = toSpan(new URLSearchParams(query).get('span'));
  const parts = path.split('/');
  if (parts.length === 1 && parts[0] === '') return { page: 'overview' };
  if (parts.length === 1 && parts[0] === 'box') return { page: 'box', span };
  if (parts.length === 1 && parts[0] === 'access') return { page: 'access' };
  const name = parts.length === 2 && parts[1] ? decoded(parts[1]) : null;
  if (name !== null && parts[0] === 'sites') return { page: 'site', name, span };
  if (name !== null && parts[0] === 'requests') return { page: 'request', id: name };
  return { page: 'unknown' };
}

function decoded(part: string): string | null {
  try {
    return decodeURIComponent(part);
  } catch {
    return null;
  }
}

/** The link to a site's page. */
export function siteHref(name: string): string {
  return `#/sites/${encodeURIComponent(name)}`;
}

/** The link to the page of a request. */
export function requestHref(id: string): string {
  return `#/requests/${encodeURIComponent(id)}`;
}

/** The address of a page, without its span. */
export function pageKey(route: Route): string {
  if (route.page === 'site') return siteHref(route.name);
  return route.page === 'request' ? requestHref(route.id) : route.page;
}

/** The link to the page of the box. */
export const BOX_HREF = '#/box';

/** The link to the page of users and tokens. */
export const ACCESS_HREF = '#/access';

/** The same page with another span. */
export function hrefWithSpan(hash: string, span: Span): string {
  return `${hash.split('?')[0]}?span=${span.id}`;
}

class RouteState {
  current = $state.raw<Route>(parseRoute(location.hash));

  constructor() {
    addEventListener('hashchange', () => (this.current = parseRoute(location.hash)));
  }

  /** Shows the same page with another span; the button to go back does not stop at each. */
  chooseSpan(span: Span): void {
    history.replaceState(null, '', hrefWithSpan(location.hash, span));
    this.current = parseRoute(location.hash);
  }
}

export const route = new RouteState();

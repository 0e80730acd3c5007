/** Which page is shown, from the address's fragment, so that every page is a link. */

import { toSpan, type Span } from '../charts/span';

export type Route =
  | { page: 'overview' }
  | { page: 'box'; span: Span }
  | { page: 'site'; name: string; span: Span }
  | { page: 'unknown' };

export function parseRoute(hash: string): Route {
  const [path = '', query] = hash.replace(/^#?\/?/, '').split('?');
  const span = toSpan(new URLSearchParams(query).get('span'));
  const parts = path.split('/');
  if (parts.length === 1 && parts[0] === '') return { page: 'overview' };
  if (parts.length === 1 && parts[0] === 'box') return { page: 'box', span };
  if (parts.length === 2 && parts[0] === 'sites' && parts[1]) {
    try {
      return { page: 'site', name: decodeURIComponent(parts[1]), span };
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

/** The address of a page, without its span. */
export function pageKey(route: Route): string {
  return route.page === 'site' ? siteHref(route.name) : route.page;
}

/** The link to the page of the box. */
export const BOX_HREF = '#/box';

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

/** Which page is shown, from the address's fragment, so that every page is a link. */

import { atLeastAMinute, formatSpan, parseSpan, type Span } from '../charts/span';
import { formatWanted, parseWanted, type WantedRequests } from '../logs/wanted';
import { drafts } from './drafts.svelte';

export type Route =
  | { page: 'overview' }
  | { page: 'box'; span: Span }
  | { page: 'access' }
  | { page: 'site'; name: string; span: Span; wanted: WantedRequests }
  | { page: 'request'; id: string }
  | { page: 'explain'; url: string }
  | { page: 'unknown' };

export function parseRoute(hash: string): Route {
  const [path = '', query] = hash.replace(/^#?\/?/, '').split(/\?(.*)/s);
  const span = parseSpan(new URLSearchParams(query));
  const parts = path.split('/');
  if (parts.length === 1 && parts[0] === '') return { page: 'overview' };
  if (parts.length === 1 && parts[0] === 'box') return { page: 'box', span };
  if (parts.length === 1 && parts[0] === 'access') return { page: 'access' };
  if (parts.length === 1 && parts[0] === 'explain') {
    return { page: 'explain', url: new URLSearchParams(query).get('url') ?? '' };
  }
  const name = parts.length === 2 && parts[1] ? decoded(parts[1]) : null;
  if (name !== null && parts[0] === 'sites') {
    return { page: 'site', name, span, wanted: parseWanted(new URLSearchParams(query)) };
  }
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

/** The link to what happens to a request for a URL. */
export function explainHref(url: string): string {
  return `#/explain?${new URLSearchParams({ url })}`;
}

/** What tells pages apart: their address, but of all spans up to now only that they are. */
export function pageKey(route: Route): string {
  if (route.page === 'request') return requestHref(route.id);
  if (route.page === 'explain') return explainHref(route.url);
  const path = route.page === 'site' ? siteHref(route.name) : route.page;
  return 'span' in route && route.span.kind === 'past' ? hrefWithSpan(path, route.span) : path;
}

/** The link to the page of the box. */
export const BOX_HREF = '#/box';

/** The link to the page of users and tokens. */
export const ACCESS_HREF = '#/access';

/** The same page with another span. */
export function hrefWithSpan(hash: string, span: Span): string {
  return hrefWith(hash, span, parseWanted(queryOf(hash)));
}

/** The same page with the log of other requests. */
export function hrefWithWanted(hash: string, wanted: WantedRequests): string {
  return hrefWith(hash, parseSpan(queryOf(hash)), wanted);
}

function hrefWith(hash: string, span: Span, wanted: WantedRequests): string {
  const query = [formatSpan(span), formatWanted(wanted)].filter(Boolean).join('&');
  return `${hash.split('?')[0]}?${query}`;
}

function queryOf(hash: string): URLSearchParams {
  return new URLSearchParams(hash.split(/\?(.*)/s)[1]);
}

class RouteState {
  current = $state.raw<Route>(parseRoute(location.hash));
  /** The page that was asked for, until it is said that a draft on the current one may be lost. */
  wanted = $state.raw<Route | null>(null);

  /** The address of the current page. */
  #hash = location.hash;

  constructor() {
    addEventListener('hashchange', () => {
      const next = parseRoute(location.hash);
      if (drafts.any && pageKey(next) !== pageKey(this.current)) this.wanted = next;
      else this.#show(next);
    });
  }

  /** Goes to the page that was asked for. */
  leave(): void {
    if (this.wanted) this.#show(this.wanted);
  }

  /** Keeps the current page. The entry of the other one in the browser's history becomes its own: an entry can't be taken back. */
  stay(): void {
    if (this.wanted) history.replaceState(null, '', this.#hash || '#/');
    this.wanted = null;
  }

  /** Shows the same page with another span; the button to go back stops at those that are over, and not at each up to now. */
  chooseSpan(span: Span): void {
    const href = hrefWithSpan(location.hash, span);
    const before = this.current;
    if (span.kind === 'recent' && 'span' in before && before.span.kind === 'recent') {
      history.replaceState(null, '', href);
      this.#show(parseRoute(href));
    } else {
      location.hash = href;
    }
  }

  #show(next: Route): void {
    [this.current, this.wanted] = [next, null];
    this.#hash = location.hash;
  }
}

export const route = new RouteState();

/** Shows the same page with the log of other requests. */
export function openWanted(wanted: WantedRequests): void {
  location.hash = hrefWithWanted(location.hash, wanted);
}

/** Shows the same page in the past: a part of a chart's time axis, in seconds. */
export function openTime(from_s: number, to_s: number): void {
  const span = atLeastAMinute(from_s * 1000, to_s * 1000);
  if (span) route.chooseSpan(span);
}

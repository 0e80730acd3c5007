import { expect, it } from 'vitest';

import { SPANS, toSpan } from '../charts/span';
import { BOX_HREF, hrefWithSpan, pageKey, parseRoute, requestHref, siteHref } from './route.svelte';

const [span] = SPANS;

it.each([
  ['', { page: 'overview' }],
  ['#/', { page: 'overview' }],
  ['#/sites/blog', { page: 'site', name: 'blog', span }],
  ['#/sites/blog?span=7d', { page: 'site', name: 'blog', span: toSpan('7d') }],
  ['#/box', { page: 'box', span }],
  ['#/box?span=30d&more', { page: 'box', span: toSpan('30d') }],
  ['#/requests/0123456789abcdef', { page: 'request', id: '0123456789abcdef' }],
  ['#/access', { page: 'access' }],
  ['#/access/more', { page: 'unknown' }],
  ['#/requests/', { page: 'unknown' }],
  ['#/requests/%E0%A4%A', { page: 'unknown' }],
  ['#/box/more', { page: 'unknown' }],
  ['#/sites/', { page: 'unknown' }],
  ['#/sites/blog/more', { page: 'unknown' }],
  ['#/sites/%E0%A4%A', { page: 'unknown' }],
  ['#/elsewhere', { page: 'unknown' }],
])('reads %s', (hash, route) => expect(parseRoute(hash)).toEqual(route));

it('finds the way back from the link it makes', () => {
  expect(parseRoute(siteHref('a b/c'))).toEqual({ page: 'site', name: 'a b/c', span });
  expect(parseRoute(requestHref('a/b'))).toEqual({ page: 'request', id: 'a/b' });
});

it('stays on the page when another span is chosen', () => {
  const day = toSpan('24h');
  for (const hash of [siteHref('a b'), BOX_HREF, `${BOX_HREF}?span=7d`]) {
    const chosen = parseRoute(hrefWithSpan(hash, day));
    expect(chosen).toMatchObject({ span: day });
    expect(pageKey(chosen)).toBe(pageKey(parseRoute(hash)));
  }
});

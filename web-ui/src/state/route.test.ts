import { expect, it } from 'vitest';

import { parseRoute, siteHref } from './route.svelte';

it.each([
  ['', { page: 'overview' }],
  ['#/', { page: 'overview' }],
  ['#/sites/blog', { page: 'site', name: 'blog' }],
  ['#/sites/', { page: 'unknown' }],
  ['#/sites/blog/more', { page: 'unknown' }],
  ['#/sites/%E0%A4%A', { page: 'unknown' }],
  ['#/elsewhere', { page: 'unknown' }],
])('reads %s', (hash, route) => expect(parseRoute(hash)).toEqual(route));

it('finds the way back from the link it makes', () => {
  expect(parseRoute(siteHref('a b/c'))).toEqual({ page: 'site', name: 'a b/c' });
});

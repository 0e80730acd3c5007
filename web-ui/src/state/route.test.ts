import { expect, it } from 'vitest';

import { SPANS, parseSpan, pastSpan, type PastSpan } from '../charts/span';
import { ANYTHING } from '../logs/wanted';
import { drafts } from './drafts.svelte';
import {
  BOX_HREF,
  explainHref,
  hrefWithSpan,
  hrefWithWanted,
  pageKey,
  parseRoute,
  requestHref,
  route,
  siteHref,
} from './route.svelte';

const [span] = SPANS;
const toSpan = (id: string) => parseSpan(new URLSearchParams({ span: id }));

it.each([
  ['', { page: 'overview' }],
  ['#/', { page: 'overview' }],
  ['#/sites/blog', { page: 'site', name: 'blog', span, wanted: ANYTHING }],
  ['#/sites/blog?span=7d', { page: 'site', name: 'blog', span: toSpan('7d'), wanted: ANYTHING }],
  [
    '#/sites/blog?status=5xx&path=%2Fa%26*&span=1h',
    {
      page: 'site',
      name: 'blog',
      span: toSpan('1h'),
      wanted: { ...ANYTHING, status: '5xx', path: '/a&*' },
    },
  ],
  ['#/box', { page: 'box', span }],
  ['#/box?span=30d&more', { page: 'box', span: toSpan('30d') }],
  [
    '#/box?from=2026-11-20T08:00:00Z&to=2026-11-20T09:00:00Z',
    { page: 'box', span: pastSpan(1_795_161_600_000, 1_795_165_200_000) },
  ],
  ['#/requests/0123456789abcdef', { page: 'request', id: '0123456789abcdef' }],
  ['#/explain', { page: 'explain', url: '' }],
  ['#/explain/more', { page: 'unknown' }],
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
  expect(parseRoute(siteHref('a b/c'))).toEqual({ page: 'site', name: 'a b/c', span, wanted: ANYTHING });
  expect(parseRoute(requestHref('a/b'))).toEqual({ page: 'request', id: 'a/b' });
  const url = 'http://a/b?c=d&e#f?g';
  expect(parseRoute(explainHref(url))).toEqual({ page: 'explain', url });
});

it('stays on the page when another span is chosen', () => {
  const day = toSpan('24h');
  for (const hash of [siteHref('a b'), BOX_HREF, `${BOX_HREF}?span=7d`]) {
    const chosen = parseRoute(hrefWithSpan(hash, day));
    expect(chosen).toMatchObject({ span: day });
    expect(pageKey(chosen)).toBe(pageKey(parseRoute(hash)));
  }
});

it('keeps what the log is asked for when another span is chosen, and the span when the log is asked', () => {
  const asked = hrefWithWanted(`${siteHref('blog')}?span=7d`, { ...ANYTHING, address: '192.0.2.0/24' });
  expect(asked).toBe('#/sites/blog?span=7d&address=192.0.2.0%2F24');
  expect(hrefWithSpan(asked, toSpan('24h'))).toBe('#/sites/blog?span=24h&address=192.0.2.0%2F24');
  expect(pageKey(parseRoute(asked))).toBe(siteHref('blog'));
  expect(hrefWithWanted(asked, ANYTHING)).toBe('#/sites/blog?span=7d');
});

it('is another page in the past', () => {
  const past = pastSpan(1_000, 2_000) as PastSpan;
  const chosen = parseRoute(hrefWithSpan(BOX_HREF, past));
  expect(chosen).toEqual({ page: 'box', span: past });
  expect(pageKey(chosen)).not.toBe(pageKey(parseRoute(BOX_HREF)));
});

/** The browser tells of another address when it has time to. */
async function goTo(hash: string) {
  const told = new Promise((resolve) => addEventListener('hashchange', resolve, { once: true }));
  location.hash = hash;
  await told;
}

it('asks before the page of a draft is left, and only then', async () => {
  await goTo('#/sites/blog');
  drafts.add();
  await goTo('#/sites/blog?span=7d');
  expect(route.wanted).toBeNull();
  await goTo(BOX_HREF);
  expect(route.wanted).toMatchObject({ page: 'box' });
  expect(route.current).toMatchObject({ page: 'site', name: 'blog' });

  route.stay();
  expect(route.wanted).toBeNull();
  expect(location.hash).toBe('#/sites/blog?span=7d');
  expect(route.current).toMatchObject({ page: 'site', name: 'blog' });

  await goTo(BOX_HREF);
  route.leave();
  expect(route.wanted).toBeNull();
  expect(route.current).toMatchObject({ page: 'box' });

  drafts.remove();
  await goTo('#/sites/blog');
  expect(route.current).toMatchObject({ page: 'site', name: 'blog' });
});

import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import type { Series } from '../api/types';
import { SPANS, pastSpan, type PastSpan } from '../charts/span';
import { SeriesLoader } from './series_loader.svelte';

const [minutes, hour] = SPANS;
let loader: SeriesLoader<Series>;

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal(
    'fetch',
    vi.fn(async () => new Response('[]')),
  );
});

afterEach(() => {
  loader.close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function series(from_ms: number): Series {
  return { from_ms, step_ms: 1_000 };
}

it('asks again as often as the span wants it, until it is closed', async () => {
  const load = vi.fn(async () => series(1_000));
  loader = new SeriesLoader(load, 'blog');
  loader.show(minutes);
  await vi.advanceTimersByTimeAsync(0);
  expect(loader.series).toEqual(series(1_000));
  expect(vi.mocked(fetch).mock.calls[0]?.[0]).toBe('/api/v1/events/past?from_ms=1000&to_ms=303000&site=blog');
  await vi.advanceTimersByTimeAsync(minutes.refreshMs);
  expect(load).toHaveBeenCalledTimes(2);
  loader.close();
  await vi.advanceTimersByTimeAsync(10 * minutes.refreshMs);
  expect(load).toHaveBeenCalledTimes(2);
});

it('leaves alone an answer for a span that nobody looks at any more', async () => {
  let answer: (series: Series) => void = () => undefined;
  const slow = new Promise<Series>((resolve) => (answer = resolve));
  loader = new SeriesLoader((span) => (span === minutes ? slow : Promise.resolve(series(7))), null);
  loader.show(minutes);
  loader.show(hour as (typeof SPANS)[0]);
  await vi.advanceTimersByTimeAsync(0);
  answer(series(1));
  await vi.advanceTimersByTimeAsync(0);
  expect(loader.series).toEqual(series(7));
});

it('keeps what it has when an answer fails, and tells why', async () => {
  const load = vi.fn(async () => series(1)).mockRejectedValueOnce(new Error('no'));
  loader = new SeriesLoader(load, null);
  loader.show(minutes);
  await vi.advanceTimersByTimeAsync(0);
  expect(loader.error?.message).toBeTruthy();
  await vi.advanceTimersByTimeAsync(minutes.refreshMs);
  expect([loader.error, loader.series]).toEqual([null, series(1)]);
  load.mockRejectedValueOnce(new Error('no'));
  await vi.advanceTimersByTimeAsync(minutes.refreshMs);
  expect([loader.error === null, loader.series]).toEqual([false, series(1)]);
});

it('asks once for what is over', async () => {
  const load = vi.fn(async () => series(1_000));
  loader = new SeriesLoader(load, null);
  loader.show(pastSpan(500, 61_000) as PastSpan);
  await vi.advanceTimersByTimeAsync(3_600_000);
  expect(load).toHaveBeenCalledTimes(1);
  expect(vi.mocked(fetch).mock.calls[0]?.[0]).toBe('/api/v1/events/past?from_ms=500&to_ms=61000');
});

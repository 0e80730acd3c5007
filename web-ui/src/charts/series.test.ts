import { describe, expect, it } from 'vitest';

import type { GaugeSeries, PastEvent, ProcessSeries } from '../api/types';
import { eventTone, hasValues, lastValue, markers, pointTimes, processCurves, stack } from './series';

const gauge: GaugeSeries = { mean: [1, null], min: [0, null], max: [2, null] };

function process(name: string): ProcessSeries {
  return {
    process: name,
    cpu: [0.5, null],
    memory_bytes: gauge,
    resident_bytes: gauge,
    threads: gauge,
    descriptors: gauge,
    gil_stalled: [0, null],
    gil_longest_ms: [0, null],
  };
}

it('gives each point its time', () => {
  expect(pointTimes({ from_ms: 60_000, step_ms: 10_000 }, 3)).toEqual([60, 70, 80]);
});

describe('stack', () => {
  it('puts each curve on those before it', () => {
    expect(
      stack([
        [1, 2],
        [10, 20],
        [100, 200],
      ]),
    ).toEqual([
      [1, 2],
      [11, 22],
      [111, 222],
    ]);
  });

  it('keeps a gap where nothing at all was measured, and only there', () => {
    expect(
      stack([
        [1, null, null],
        [null, 5, null],
      ]),
    ).toEqual([
      [1, null, null],
      [1, 5, null],
    ]);
  });

  it('draws nothing of nothing', () => {
    expect(stack([])).toEqual([]);
  });
});

it('tells an empty span from an idle one', () => {
  expect(hasValues([{ values: [null, null] }, { values: [] }])).toBe(false);
  expect(hasValues([{ values: [null, 0] }])).toBe(true);
});

it('gives each process a colour, again from the first when they are used up', () => {
  const names = Array.from({ length: 10 }, (_, index) => `blog.${index}`);
  const curves = processCurves(names.map(process), (one) => one.memory_bytes.mean);
  expect(curves[0]).toEqual({ label: 'blog.0', color: '--chart-1', values: [1, null] });
  expect(curves[8]?.color).toBe('--chart-1');
  expect(new Set(curves.slice(0, 8).map((curve) => curve.color)).size).toBe(8);
});

it('finds the last value before the end', () => {
  expect(lastValue([3, 7, null, null])).toBe(7);
  expect(lastValue([null])).toBeNull();
});

it('marks new code and trouble apart from the rest', () => {
  expect(['deploy', 'worker-crash', 'restart'].map((kind) => eventTone(kind as PastEvent['kind']))).toEqual([
    'new',
    'bad',
    'plain',
  ]);
  const event: PastEvent = { at_ms: 5_500, kind: 'deploy', site: 'blog', release: 'r1', text: 'live' };
  expect(markers([event])).toEqual([{ at_s: 5.5, tone: 'new' }]);
});

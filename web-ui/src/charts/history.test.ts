import { describe, expect, it } from 'vitest';

import type { Sample, SiteSample } from '../api/types';
import { WINDOW_S, appendSample, curve, times, type Moment } from './history';

function siteSample(site: string, requests_per_s: number): SiteSample {
  return {
    site,
    requests_per_s,
    static_per_s: 0,
    errors_per_s: 0,
    p50_ms: 2,
    p95_ms: 7,
    p99_ms: 9,
    in_flight: 0,
    gil_wait_ms: 0,
  };
}

function sample(at_s: number, ...sites: SiteSample[]): Sample {
  const machine = { cpu: 0, memory_bytes: 0, memory_total_bytes: 1, load: 0 };
  return { at_ms: at_s * 1000, sites, memory_bytes: 0, cpu: 0, processes: [], machine };
}

function history(...samples: Sample[]): Moment[] {
  return samples.reduce<Moment[]>((moments, one) => appendSample(moments, one), []);
}

const requests = (one: SiteSample) => one.requests_per_s;

describe('appendSample', () => {
  it('keeps neighbouring samples together', () => {
    const moments = history(
      sample(1, siteSample('a', 1)),
      sample(2, siteSample('a', 2)),
      sample(3.9, siteSample('a', 3)),
    );
    expect(curve(moments, 'a', requests)).toEqual([1, 2, 3]);
    expect(times(moments)).toEqual([1, 2, 3.9]);
  });

  it('marks a gap where samples are missing', () => {
    const moments = history(sample(1, siteSample('a', 1)), sample(9, siteSample('a', 2)));
    expect(curve(moments, 'a', requests)).toEqual([1, null, 2]);
    expect(times(moments)).toEqual([1, 2, 9]);
  });

  it('forgets what has left the window', () => {
    const many = Array.from({ length: WINDOW_S + 50 }, (_, at) => sample(at, siteSample('a', at)));
    const at = times(history(...many));
    expect(at.length).toBeLessThanOrEqual(WINDOW_S + 2);
    expect(at.at(-1)).toBe(WINDOW_S + 49);
  });

  it('ignores a sample that is not newer than the last', () => {
    expect(times(history(sample(5), sample(5), sample(4)))).toEqual([5]);
  });
});

describe('curve', () => {
  it('draws nothing while a site does not exist', () => {
    const moments = history(sample(1), sample(2, siteSample('b', 7)));
    expect(curve(moments, 'b', requests)).toEqual([null, 7]);
  });
});

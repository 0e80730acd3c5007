/**
 * The admin API as data. What it says and takes is made of `openapi.json`, which a test of the server compares with the
 * code, by `npm run types`. Times are milliseconds since the Unix epoch (`_ms`), sizes are bytes.
 */

import type { CacheSeries, DropSeries, GaugeSeries, PhaseMeans, ResponseSeries, SiteSeries } from './schema';

export type * from './schema';

/** A value for each point of a series; `null` where nothing was measured, or there is nothing to tell. */
export type SeriesCurve = GaugeSeries['mean'];

/** Point `i` stands for the time from `from_ms + i * step_ms` on, for `step_ms`. */
export type Series = Pick<SiteSeries, 'from_ms' | 'step_ms'>;

export type StatusClass = keyof ResponseSeries;
export type CacheOutcome = keyof CacheSeries;
export type DropReason = keyof DropSeries;
export type Phase = keyof PhaseMeans;

/** What requests are looked for; what is empty or `null` is not asked for. */
export interface RequestSearch {
  site: string | null;
  /** A part of the path. */
  path: string;
  /** `404`, or a class: `5xx`. */
  status: string;
  slower_ms: number | null;
  from_ms: number | null;
  to_ms: number | null;
  limit: number;
}

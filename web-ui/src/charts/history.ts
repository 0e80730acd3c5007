/** The samples of the last minutes, in order, with a mark where some are missing: pure data, no drawing. */

import type { Sample, SiteSample } from '../api/types';

/** How far back charts reach. */
export const WINDOW_S = 300;

/** From this distance on two neighbouring samples have a gap between them; one comes each second. */
const GAP_MS = 2_500;

/** A moment: the sites' samples by name, or `null` for a gap. */
export interface Moment {
  at_ms: number;
  sites: ReadonlyMap<string, SiteSample> | null;
}

/** Adds a sample, marks the gap before it if there is one, and forgets what has left the window. */
export function appendSample(history: readonly Moment[], sample: Sample): Moment[] {
  const last = history.at(-1);
  if (last && sample.at_ms <= last.at_ms) return [...history];
  const oldest_ms = sample.at_ms - (WINDOW_S + 1) * 1000;
  const next = history.filter((moment) => moment.at_ms >= oldest_ms);
  if (last && sample.at_ms - last.at_ms > GAP_MS) next.push({ at_ms: last.at_ms + 1000, sites: null });
  next.push({ at_ms: sample.at_ms, sites: new Map(sample.sites.map((site) => [site.site, site])) });
  return next;
}

/** A point of a curve; `null` is not drawn. */
export type Value = number | null;

/** One curve of a site: a value for each moment, `null` in a gap and while the site does not exist. */
export function curve(
  history: readonly Moment[],
  site: string,
  pick: (sample: SiteSample) => Value,
): Value[] {
  return history.map((moment) => {
    const sample = moment.sites?.get(site);
    return sample ? pick(sample) : null;
  });
}

/** The times of the curves' points, in seconds as uPlot wants them. */
export function times(history: readonly Moment[]): number[] {
  return history.map((moment) => moment.at_ms / 1000);
}

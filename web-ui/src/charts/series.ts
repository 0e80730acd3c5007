/** From the appliance's series to what a chart draws: pure data. */

import type { EventKind, PastEvent, ProcessSeries, Series, SeriesCurve } from '../api/types';
import type { Value } from './history';
import type { Curve, Marker } from './options';
import type { Span } from './span';

/** Colours for as many things as there are; from the ninth on they come again. */
const PALETTE = [1, 2, 3, 4, 5, 6, 7, 8].map((number) => `--chart-${number}`);

/** What all charts of a page have in common. */
export interface ChartFrame {
  /** What the span is called after `in`. */
  span: string;
  /** In seconds; `null` while nothing has come yet. */
  times: number[] | null;
  /** From one point to the next. */
  stepMs: number;
  markers: Marker[];
}

/** The frame of charts with so many points of a series, which has not come yet where it is `null`. */
export function chartFrame(
  span: Span,
  series: Series | null,
  points: number,
  events: readonly PastEvent[],
): ChartFrame {
  return {
    span: span.words,
    times: series && pointTimes(series, points),
    stepMs: series?.step_ms ?? 1000,
    markers: markers(events),
  };
}

/** The times of a series' points, in seconds as uPlot wants them. */
export function pointTimes(series: Series, points: number): number[] {
  return Array.from({ length: points }, (_, index) => (series.from_ms + index * series.step_ms) / 1000);
}

/** Each curve on top of those before it; the first one lies at the bottom. A gap in one counts as nothing where another has a value. */
export function stack(curves: readonly (readonly Value[])[]): Value[][] {
  const below: Value[] = [];
  return curves.map((values) =>
    values.map((value, index) => {
      const base = below[index] ?? null;
      const top = value === null ? base : (base ?? 0) + value;
      below[index] = top;
      return top;
    }),
  );
}

/** Whether anything at all was measured. */
export function hasValues(curves: readonly { values: readonly Value[] }[]): boolean {
  return curves.some(({ values }) => values.some((value) => value !== null));
}

/** Whether anything but zero was measured: curves of what should not happen are drawn only where it did. */
export function hasEvents(values: SeriesCurve): boolean {
  return values.some((value) => value !== null && value > 0);
}

/** A curve for each process; those that lie on top of one another when stacked have a colour each. */
export function processCurves(
  processes: readonly ProcessSeries[],
  pick: (process: ProcessSeries) => SeriesCurve,
): Curve[] {
  return processes.map((process, index) => ({
    label: process.process,
    color: PALETTE[index % PALETTE.length] ?? '--chart-1',
    values: pick(process),
  }));
}

/** The last value that was measured. */
export function lastValue(values: SeriesCurve): Value {
  return values.findLast((value) => value !== null) ?? null;
}

const BAD: ReadonlySet<EventKind> = new Set([
  'deploy-failed',
  'engine-crash',
  'deadline',
  'wedged',
  'worker-crash',
  'isolation',
  'fallback',
  'history-start',
]);
const NEW: ReadonlySet<EventKind> = new Set(['deploy', 'rollback']);

/** How an event is to be taken: new code, trouble, or neither. */
export function eventTone(kind: EventKind): 'new' | 'bad' | 'plain' {
  if (BAD.has(kind)) return 'bad';
  return NEW.has(kind) ? 'new' : 'plain';
}

/** The marks of events on a chart. */
export function markers(events: readonly PastEvent[]): Marker[] {
  return events.map((event) => ({ at_s: event.at_ms / 1000, tone: eventTone(event.kind) }));
}

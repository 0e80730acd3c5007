/** How far back charts reach, and how often they are asked for anew. */

export interface Span {
  /** As the address names it. */
  id: string;
  label: string;
  /** In a sentence: `the last …`. */
  words: string;
  ms: number;
  refreshMs: number;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

export const SPANS: readonly [Span, ...Span[]] = [
  { id: '5m', label: '5 min', words: '5 minutes', ms: 5 * MINUTE_MS, refreshMs: 2_000 },
  { id: '1h', label: '1 h', words: 'hour', ms: HOUR_MS, refreshMs: 10_000 },
  { id: '24h', label: '24 h', words: '24 hours', ms: DAY_MS, refreshMs: MINUTE_MS },
  { id: '7d', label: '7 d', words: '7 days', ms: 7 * DAY_MS, refreshMs: 5 * MINUTE_MS },
  { id: '30d', label: '30 d', words: '30 days', ms: 30 * DAY_MS, refreshMs: 5 * MINUTE_MS },
];

/** The span of this name; the shortest for any other. */
export function toSpan(id: string | null): Span {
  return SPANS.find((span) => span.id === id) ?? SPANS[0];
}

/** The time that the charts of a page show: up to now, or one that is over. */

/** Up to now, and asked for anew as it goes on. */
export interface RecentSpan {
  kind: 'recent';
  /** As the address names it. */
  id: string;
  label: string;
  /** In a sentence: `in the last hour`. */
  words: string;
  ms: number;
  refreshMs: number;
}

/** From one moment until before another. */
export interface PastSpan {
  kind: 'past';
  fromMs: number;
  toMs: number;
  words: string;
}

export type Span = RecentSpan | PastSpan;

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

function recent(id: string, label: string, words: string, ms: number, refreshMs: number): RecentSpan {
  return { kind: 'recent', id, label, words, ms, refreshMs };
}

export const SPANS: readonly [RecentSpan, ...RecentSpan[]] = [
  recent('5m', '5 min', 'the last 5 minutes', 5 * MINUTE_MS, 2_000),
  recent('1h', '1 h', 'the last hour', HOUR_MS, 10_000),
  recent('24h', '24 h', 'the last 24 hours', DAY_MS, MINUTE_MS),
  recent('7d', '7 d', 'the last 7 days', 7 * DAY_MS, 5 * MINUTE_MS),
  recent('30d', '30 d', 'the last 30 days', 30 * DAY_MS, 5 * MINUTE_MS),
];

/** The times that a date can be made of. */
const LAST_MS = 8_640_000_000_000_000;

/** The span from one moment to another; `null` where that is none. */
export function pastSpan(fromMs: number, toMs: number): PastSpan | null {
  const [from, to] = [Math.floor(fromMs), Math.ceil(toMs)];
  if (!(from >= 0 && from < to && to <= LAST_MS)) return null;
  return { kind: 'past', fromMs: from, toMs: to, words: 'this time' };
}

/** The same span, made longer on both sides where it is shorter than a minute: less is hardly anything to look at. */
export function atLeastAMinute(fromMs: number, toMs: number): PastSpan | null {
  const missing = Math.max(0, MINUTE_MS - (toMs - fromMs));
  return pastSpan(fromMs - missing / 2, toMs + missing / 2);
}

/** The span that an address names: `span=1h`, or `from=…&to=…` as ISO 8601 times; the shortest up to now for any other. */
export function parseSpan(query: URLSearchParams): Span {
  const past = pastSpan(Date.parse(query.get('from') ?? ''), Date.parse(query.get('to') ?? ''));
  return past ?? SPANS.find((span) => span.id === query.get('span')) ?? SPANS[0];
}

/** What names a span in an address. */
export function formatSpan(span: Span): string {
  if (span.kind === 'recent') return `span=${span.id}`;
  return `from=${new Date(span.fromMs).toISOString()}&to=${new Date(span.toMs).toISOString()}`;
}

/** What asks the appliance for a span, by its own clock where the span ends now. */
export function spanQuery(span: Span): Record<string, string> {
  if (span.kind === 'recent') return { span_ms: `${span.ms}` };
  return { from_ms: `${span.fromMs}`, to_ms: `${span.toMs}` };
}

/** The span as long as this one, so many lengths later. */
export function shifted({ fromMs, toMs }: PastSpan, lengths: number): PastSpan | null {
  const by = Math.max(-fromMs, (toMs - fromMs) * lengths);
  return pastSpan(fromMs + by, toMs + by);
}

/** The span three times as long around this one. */
export function widened({ fromMs, toMs }: PastSpan): PastSpan | null {
  return pastSpan(Math.max(0, fromMs - (toMs - fromMs)), toMs + (toMs - fromMs));
}

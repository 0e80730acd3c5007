/** Times for people, always in the viewer's own time zone. */

const NO_BREAK = '\u00a0';
const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const dateTime = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric',
  month: 'short',
  year: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  timeZoneName: 'short',
});

const axisClock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const axisDay = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });
const moment = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
});

/** A tick of a time axis: `14:03`, and `20 Nov` where a day begins. */
export function formatAxisTime(atMs: number): string {
  const time = axisClock.format(atMs);
  return time === '00:00' ? axisDay.format(atMs) : time;
}

/** A point of a chart, as exactly as its step allows: `14:03:07`, `20 Nov, 14:03`. */
export function formatMoment(atMs: number, stepMs: number): string {
  return stepMs < MINUTE_MS ? clock.format(atMs) : moment.format(atMs);
}

/** `14:03:07` */
export function formatClock(atMs: number): string {
  return clock.format(atMs);
}

const dayClock = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
});
const zone = new Intl.DateTimeFormat('en-GB', { timeZoneName: 'short' });

/** `14:03:07` today, `20 Nov, 14:03:07` on other days. */
export function formatTimeOfDay(atMs: number, nowMs: number = Date.now()): string {
  const isToday = new Date(atMs).toDateString() === new Date(nowMs).toDateString();
  return (isToday ? clock : dayClock).format(atMs);
}

/** The name of the viewer's time zone at a moment: `CET`. */
export function zoneName(atMs: number): string {
  return zone.formatToParts(atMs).find(({ type }) => type === 'timeZoneName')?.value ?? '';
}

/** A time as a `datetime-local` field has it: `2026-11-20T14:03:07`, by the viewer's clock. */
export function toLocalTime(atMs: number): string {
  const at = new Date(atMs);
  const two = (value: number) => `${value}`.padStart(2, '0');
  const day = [`${at.getFullYear()}`.padStart(4, '0'), two(at.getMonth() + 1), two(at.getDate())].join('-');
  return `${day}T${[at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(':')}`;
}

/** The other way round; `NaN` where it is no time. */
export function fromLocalTime(text: string): number {
  return new Date(text).getTime();
}

/** `20 Nov 2026, 14:03:07 CET` */
export function formatDateTime(atMs: number): string {
  return dateTime.format(atMs);
}

/** The two largest units: `42 s`, `3 min`, `2 h 5 min`, `3 d 4 h`. */
export function formatDuration(ms: number): string {
  const pair = (large: number, largeUnit: string, small: number, smallUnit: string): string => {
    const parts = [`${large}${NO_BREAK}${largeUnit}`];
    if (small > 0) parts.push(`${small}${NO_BREAK}${smallUnit}`);
    return parts.join(' ');
  };
  if (ms >= DAY_MS) return pair(Math.floor(ms / DAY_MS), 'd', Math.floor((ms % DAY_MS) / HOUR_MS), 'h');
  if (ms >= HOUR_MS)
    return pair(Math.floor(ms / HOUR_MS), 'h', Math.floor((ms % HOUR_MS) / MINUTE_MS), 'min');
  if (ms >= MINUTE_MS) return pair(Math.floor(ms / MINUTE_MS), 'min', 0, '');
  return pair(Math.max(0, Math.floor(ms / SECOND_MS)), 's', 0, '');
}

/** `just now`, `5 min ago`, `2 h ago`, `3 d ago`. A clock that is a little ahead counts as now. */
export function formatAgo(atMs: number, nowMs: number): string {
  const age = nowMs - atMs;
  if (age < MINUTE_MS) return 'just now';
  if (age < HOUR_MS) return `${Math.floor(age / MINUTE_MS)}${NO_BREAK}min ago`;
  if (age < 2 * DAY_MS) return `${Math.floor(age / HOUR_MS)}${NO_BREAK}h ago`;
  return `${Math.floor(age / DAY_MS)}${NO_BREAK}d ago`;
}

import { describe, expect, it } from 'vitest';

import {
  formatAgo,
  formatAxisTime,
  formatClock,
  formatDateTime,
  formatDuration,
  formatMoment,
  formatTimeOfDay,
  fromLocalTime,
  toLocalTime,
} from './times';

const plain = (text: string) => text.replaceAll('\u00a0', ' ');
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

describe('formatAgo', () => {
  const now = Date.UTC(2026, 10, 20, 12);
  it.each([
    [-5_000, 'just now'],
    [59_000, 'just now'],
    [5 * MINUTE_MS, '5 min ago'],
    [3 * HOUR_MS, '3 h ago'],
    [47 * HOUR_MS, '47 h ago'],
    [9 * DAY_MS, '9 d ago'],
  ])('says of something %d ms old: %s', (age, text) => expect(plain(formatAgo(now - age, now))).toBe(text));
});

describe('formatDuration', () => {
  it.each([
    [0, '0 s'],
    [42_900, '42 s'],
    [3 * MINUTE_MS + 20_000, '3 min'],
    [2 * HOUR_MS, '2 h'],
    [2 * HOUR_MS + 5 * MINUTE_MS, '2 h 5 min'],
    [3 * DAY_MS + 4 * HOUR_MS, '3 d 4 h'],
  ])('writes %d ms as %s', (ms, text) => expect(plain(formatDuration(ms))).toBe(text));
});

it('shows times in the zone of the viewer', () => {
  const at = new Date(2026, 10, 20, 14, 3, 7);
  expect(formatClock(at.getTime())).toBe('14:03:07');
  expect(formatDateTime(at.getTime())).toMatch(/^20 Nov 2026, 14:03:07 /);
});

it('names the day where one begins on an axis, and in a moment of a coarse chart', () => {
  const noon = new Date(2026, 10, 20, 12, 5, 7).getTime();
  expect(formatAxisTime(noon)).toBe('12:05');
  expect(formatAxisTime(new Date(2026, 10, 20).getTime())).toBe('20 Nov');
  expect(formatMoment(noon, 10_000)).toBe('12:05:07');
  expect(formatMoment(noon, 3_600_000)).toBe('20 Nov, 12:05');
});

it('goes from a moment to a field by the clock of the viewer, and back', () => {
  const at = new Date(2026, 10, 20, 4, 3, 7).getTime();
  expect(toLocalTime(at)).toBe('2026-11-20T04:03:07');
  expect(fromLocalTime('2026-11-20T04:03:07')).toBe(at);
  expect(fromLocalTime('')).toBeNaN();
});

it('names the day of what was not today', () => {
  const at = new Date(2026, 10, 20, 4, 3, 7).getTime();
  expect(formatTimeOfDay(at, at + HOUR_MS)).toBe('04:03:07');
  expect(formatTimeOfDay(at, at + DAY_MS)).toBe('20 Nov, 04:03:07');
});

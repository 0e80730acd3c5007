import { expect, it } from 'vitest';

import {
  SPANS,
  atLeastAMinute,
  formatSpan,
  parseSpan,
  pastSpan,
  shifted,
  widened,
  type PastSpan,
} from './span';

function parse(query: string) {
  return parseSpan(new URLSearchParams(query));
}

function between(fromMs: number, toMs: number): PastSpan {
  return pastSpan(fromMs, toMs) as PastSpan;
}

it('takes the shortest span where none, or none that there is, is named', () => {
  for (const wrong of [
    '',
    'span=2y',
    'from=2026-11-20T10:00:00Z',
    'from=2026-11-20T10:00:00Z&to=2026-11-20T10:00:00Z',
    'from=yesterday&to=today',
    'from=2026-11-20T10:00:00Z&to=%2B275761-01-01T00:00:00Z',
  ]) {
    expect(parse(wrong), wrong).toBe(SPANS[0]);
  }
});

it('finds the span that an address was made of', () => {
  const past = between(1_795_161_600_500, 1_795_161_661_000);
  expect(formatSpan(past)).toBe('from=2026-11-20T08:00:00.500Z&to=2026-11-20T08:01:01.000Z');
  for (const span of [...SPANS, past]) expect(parse(formatSpan(span))).toEqual(span);
});

it('makes a moment a minute and leaves more than that alone', () => {
  expect(atLeastAMinute(100_000, 101_000)).toEqual(between(70_500, 130_500));
  expect(atLeastAMinute(100_000, 170_000)).toEqual(between(100_000, 170_000));
  expect(atLeastAMinute(100_000.4, 170_000.4)).toEqual(between(100_000, 170_001));
});

it('moves and widens a span, but not before the beginning of time', () => {
  const span = between(100, 300);
  expect(shifted(span, 1)).toEqual(between(300, 500));
  expect(shifted(span, -1)).toEqual(between(0, 200));
  expect(widened(span)).toEqual(between(0, 500));
});

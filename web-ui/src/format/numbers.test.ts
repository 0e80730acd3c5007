import { describe, expect, it } from 'vitest';

import {
  formatByteRate,
  formatByteRateTick,
  formatBytes,
  formatBytesTick,
  formatCount,
  formatCpu,
  formatLatency,
  formatLatencyTick,
  formatNumber,
  formatRate,
  formatShareTick,
} from './numbers';

const plain = (text: string) => text.replaceAll('\u00a0', ' ');

describe('formatRate', () => {
  it.each([
    [0, '0'],
    [0.4, '0.4'],
    [12, '12'],
    [12.34, '12.3'],
    [61.98, '62'],
    [340.7, '341'],
    [1_240, '1,240'],
    [12_345, '12.3k'],
  ])('writes %d as %s', (value, text) => expect(formatRate(value)).toBe(text));
});

describe('formatLatency', () => {
  it.each([
    [0.42, '0.42 ms'],
    [8.134, '8.13 ms'],
    [9.999, '10.0 ms'],
    [45.21, '45.2 ms'],
    [340.4, '340 ms'],
    [999.9, '1.00 s'],
    [1_254, '1.25 s'],
  ])('writes %d ms as %s', (value, text) => expect(plain(formatLatency(value))).toBe(text));

  it.each([
    [0, '0 ms'],
    [2.5, '2.5 ms'],
    [40, '40 ms'],
    [1_500, '1.5 s'],
  ])('writes the tick %d as %s', (value, text) => expect(plain(formatLatencyTick(value))).toBe(text));
});

describe('formatBytes', () => {
  it.each([
    [0, '0 B'],
    [1_023, '1,023 B'],
    [1_536, '1.5 KB'],
    [50_541_363, '48.2 MB'],
    [3_221_225_472, '3.0 GB'],
  ])('writes %d as %s', (value, text) => expect(plain(formatBytes(value))).toBe(text));
});

it('writes CPU as a share of one core', () => {
  expect(plain(formatCpu(0.035))).toBe('3.5 %');
  expect(plain(formatCpu(1.25))).toBe('125 %');
});

it('counts one thing in the singular', () => {
  expect(formatCount(1, 'site')).toBe('1 site');
  expect(formatCount(0, 'site')).toBe('0 sites');
  expect(formatCount(2_000, 'line')).toBe('2,000 lines');
});

it('writes round values of an axis without decimals that say nothing', () => {
  const space = '\u00a0';
  expect([0, 0.025, 0.4].map(formatShareTick)).toEqual([`0${space}%`, `2.5${space}%`, `40${space}%`]);
  expect([0, 64 * 2 ** 20, 1.5 * 2 ** 30].map(formatBytesTick)).toEqual([
    `0${space}B`,
    `64${space}MB`,
    `1.5${space}GB`,
  ]);
  expect(formatByteRateTick(2 ** 20)).toBe(`1${space}MB/s`);
  expect(formatByteRate(1_500)).toBe(`1.5${space}KB/s`);
  expect([0, 0.254, 12.5].map(formatNumber)).toEqual(['0', '0.25', '12.5']);
});

import { expect, it } from 'vitest';

import { isolatedPoints, topOf } from './scale';

it('finds the points that no line would show', () => {
  expect(isolatedPoints([1, null, 2, 3, null, 4, null])).toEqual([0, 5]);
  expect(isolatedPoints([null, null])).toEqual([]);
});

it('leaves room above the highest value and never zooms into noise', () => {
  expect(topOf(100, 5)).toBeCloseTo(112);
  expect(topOf(1, 5)).toBe(5);
  expect(topOf(null, 5)).toBe(5);
});

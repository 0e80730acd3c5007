import { expect, it } from 'vitest';

import { WINDOW_S } from './history';
import { sparklinePaths } from './sparkline';

it('draws from the left edge of the window to its right edge', () => {
  const { line } = sparklinePaths([0, WINDOW_S], [0, 10]);
  expect(line).toBe('M0.00 97.00L100.00 3.00');
});

it('breaks line and area at a gap', () => {
  const { line, area } = sparklinePaths([0, 1, 2, 3, 4], [5, 5, null, 5, 5]);
  expect(line.split('M')).toHaveLength(3);
  expect(area.split('Z')).toHaveLength(3);
});

it('draws nothing without samples', () => {
  expect(sparklinePaths([], [])).toEqual({ line: '', area: '' });
});

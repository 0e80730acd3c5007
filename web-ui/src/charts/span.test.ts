import { expect, it } from 'vitest';

import { SPANS, toSpan } from './span';

it('takes the shortest span where none, or none that there is, is named', () => {
  expect([null, '', '2y'].map((id) => toSpan(id).id)).toEqual(['5m', '5m', '5m']);
  for (const span of SPANS) expect(toSpan(span.id)).toBe(span);
});

import { expect, it } from 'vitest';

import { ANYTHING, formatWanted, parseWanted } from './wanted';

it('finds what it made a query of', () => {
  const wanted = { status: '5xx', path: '/a b/*?&', address: '2001:db8::/32', request_id: '0123' };
  expect(parseWanted(new URLSearchParams(formatWanted(wanted)))).toEqual(wanted);
});

it('asks for nothing that is empty', () => {
  expect(formatWanted(ANYTHING)).toBe('');
  expect(formatWanted({ ...ANYTHING, path: '  ', status: ' 404 ' })).toBe('status=404');
  expect(parseWanted(new URLSearchParams('span=1h&more'))).toEqual(ANYTHING);
});

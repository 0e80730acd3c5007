import { expect, it } from 'vitest';

import { toWords } from './prose';

it.each([
  ['', []],
  ['Plain.', ['Plain.']],
  ['`idle` and `max-requests` need it.', ['<idle>', ' and ', '<max-requests>', ' need it.']],
  ['`processes = 2`', ['<processes = 2>']],
  ['one ` alone', ['one ` alone']],
  ['`over\nlines`', ['`over\nlines`']],
])('finds what is typed in %j', (text, expected) => {
  expect(toWords(text).map(({ text, code }) => (code ? `<${text}>` : text))).toEqual(expected);
});

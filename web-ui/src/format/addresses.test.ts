import { expect, it } from 'vitest';

import { formatAddress } from './addresses';

it.each([
  ['http://blog.localhost:8080/', 'blog.localhost:8080'],
  ['https://example.com/', 'https://example.com'],
  ['https://example.com/shop/', 'https://example.com/shop'],
])('shortens %s to %s', (url, text) => expect(formatAddress(url)).toBe(text));

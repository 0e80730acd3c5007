import { expect, it } from 'vitest';

import type { CertificateStatus } from '../api/types';
import { certificateState, daysLeft, vouchedBy } from './state';

const DAY = 86_400_000;

const good: CertificateStatus = {
  source: 'acme',
  names: ['a.example'],
  issuer: 'R11',
  not_before_ms: 0,
  not_after_ms: 90 * DAY,
  renews_ms: 60 * DAY,
  is_ordering: false,
  problem: null,
  next_try_ms: null,
};

it('counts whole days to the end', () => {
  expect(daysLeft(good, 0)).toBe(90);
  expect(daysLeft(good, 89.5 * DAY)).toBe(0);
  expect(daysLeft(good, 91 * DAY)).toBe(-1);
  expect(daysLeft({ ...good, not_after_ms: null }, 0)).toBeNull();
});

it.each<[Partial<CertificateStatus>, number, string, string]>([
  [{}, 1, 'good', 'Valid'],
  [{ source: 'internal' }, 1, 'idle', 'Valid'],
  [{}, 90, 'bad', 'Expired'],
  [{ is_ordering: true }, 90, 'bad', 'Expired'],
  [{ not_before_ms: 5 * DAY }, 1, 'bad', 'Not valid yet'],
  [{ is_ordering: true, problem: 'refused' }, 1, 'warn', 'Being ordered'],
  [{ problem: 'refused' }, 1, 'warn', 'Needs a look'],
  [{ not_after_ms: null, not_before_ms: null }, 1, 'warn', 'None yet'],
  [{ not_after_ms: null, not_before_ms: null, problem: 'refused' }, 1, 'bad', 'None yet'],
])('says how %o is on day %d', (change, day, tone, word) => {
  expect(certificateState({ ...good, ...change }, day * DAY)).toEqual({ tone, word });
});

it('names who vouches', () => {
  expect(vouchedBy(good)).toBe('an ACME authority, R11');
  expect(vouchedBy({ ...good, issuer: null })).toBe('an ACME authority');
  expect(vouchedBy({ ...good, source: 'own' })).toBe("the site's own files, R11");
  expect(vouchedBy({ ...good, source: 'internal', issuer: 'onebox on nas' })).toBe(
    "the box's own authority, onebox on nas",
  );
});

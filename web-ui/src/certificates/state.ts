/** What a certificate's figures mean for people. */

import type { CertificateStatus } from '../api/types';

const DAY_MS = 86_400_000;

export type Tone = 'good' | 'warn' | 'bad' | 'idle';

export interface CertificateState {
  tone: Tone;
  word: string;
}

/** Who vouches, in words. */
export function vouchedBy(certificate: CertificateStatus): string {
  const by = certificate.issuer === null ? '' : `, ${certificate.issuer}`;
  switch (certificate.source) {
    case 'acme':
      return `an ACME authority${by}`;
    case 'own':
      return `the site's own files${by}`;
    case 'internal':
      return `the box's own authority${by}`;
  }
}

/** Whole days until its end, negative behind it; `null` while there is none. */
export function daysLeft(certificate: CertificateStatus, nowMs: number): number | null {
  return certificate.not_after_ms === null ? null : Math.floor((certificate.not_after_ms - nowMs) / DAY_MS);
}

/** How it is, in a word or two: an end that is near counts more than an order, and that more than what went wrong before. */
export function certificateState(certificate: CertificateStatus, nowMs: number): CertificateState {
  const { not_before_ms, not_after_ms, is_ordering, problem } = certificate;
  if (not_after_ms !== null && not_after_ms <= nowMs) return { tone: 'bad', word: 'Expired' };
  if (not_before_ms !== null && not_before_ms > nowMs) return { tone: 'bad', word: 'Not valid yet' };
  if (is_ordering) return { tone: 'warn', word: 'Being ordered' };
  if (not_after_ms === null) return { tone: problem === null ? 'warn' : 'bad', word: 'None yet' };
  if (problem !== null) return { tone: 'warn', word: 'Needs a look' };
  return { tone: certificate.source === 'internal' ? 'idle' : 'good', word: 'Valid' };
}

/** The phases of a request in the order that they come in, with their names for people. */

import type { Phase } from '../api/types';

export const PHASES: readonly [Phase, string][] = [
  ['tls', 'TLS'],
  ['accept', 'Accept'],
  ['queue', 'Queue'],
  ['app', 'Application'],
  ['body', 'Body'],
  ['send', 'Send'],
];

/** The current time as state, for everything that says how long ago something was. */

import { createSubscriber } from 'svelte/reactivity';

const TICK_MS = 10_000;

const subscribe = createSubscriber((update) => {
  const timer = setInterval(update, TICK_MS);
  return () => clearInterval(timer);
});

/** Milliseconds since the epoch; what reads it is drawn again every ten seconds. */
export function now(): number {
  subscribe();
  return Date.now();
}

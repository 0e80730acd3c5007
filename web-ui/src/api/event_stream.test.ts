import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { EventStream, type StreamState } from './event_stream';

/** Stands in for the browser's; tests fire its events by hand. */
class FakeEventSource extends EventTarget {
  static made: FakeEventSource[] = [];
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  closed = false;

  constructor(readonly url: string) {
    super();
    FakeEventSource.made.push(this);
  }

  close(): void {
    this.closed = true;
  }

  send(name: string, payload: unknown, lastEventId = ''): void {
    this.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(payload), lastEventId }));
  }
}

let states: StreamState[];
let received: unknown[];
let stream: EventStream;

function latest(): FakeEventSource {
  const source = FakeEventSource.made.at(-1);
  if (!source) throw new Error('nothing was opened');
  return source;
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('EventSource', FakeEventSource);
  FakeEventSource.made = [];
  states = [];
  received = [];
  stream = new EventStream({
    url: '/events',
    stallMs: 5_000,
    onState: (state) => states.push(state),
    handlers: { sample: (payload: unknown) => received.push(payload) },
  });
});

afterEach(() => {
  stream.close();
  vi.useRealTimers();
});

it('hands over payloads', () => {
  latest().onopen?.();
  latest().send('sample', { at_ms: 1 });
  expect(received).toEqual([{ at_ms: 1 }]);
  expect(states).toEqual(['connecting', 'open']);
});

it('comes back after an error, each time a little later', () => {
  latest().onerror?.();
  expect(states.at(-1)).toBe('lost');
  vi.advanceTimersByTime(1_000);
  expect(FakeEventSource.made).toHaveLength(2);
  latest().onerror?.();
  vi.advanceTimersByTime(1_999);
  expect(FakeEventSource.made).toHaveLength(2);
  vi.advanceTimersByTime(1);
  expect(FakeEventSource.made).toHaveLength(3);
});

it('takes silence for a lost connection', () => {
  latest().onopen?.();
  vi.advanceTimersByTime(4_000);
  latest().send('sample', {});
  vi.advanceTimersByTime(4_999);
  expect(states.at(-1)).toBe('open');
  vi.advanceTimersByTime(1);
  expect(states.at(-1)).toBe('lost');
  expect(FakeEventSource.made[0]?.closed).toBe(true);
});

it('stays closed once closed', () => {
  latest().onerror?.();
  stream.close();
  vi.advanceTimersByTime(60_000);
  expect(FakeEventSource.made).toHaveLength(1);
});

it('names the last event that it heard when it comes back', () => {
  latest().send('sample', {}, '7-41');
  latest().send('sample', {}, '7-42');
  latest().onerror?.();
  vi.advanceTimersByTime(1_000);
  expect(latest().url).toBe('/events?last_event_id=7-42');
});

/** The stream of events: samples go into the history, a change of a site or the engine asks for the status anew. */

import { EVENTS_PATH } from '../api/client';
import { EventStream, type StreamState } from '../api/event_stream';
import type { Sample, SiteSample } from '../api/types';
import { appendSample, type Moment } from '../charts/history';
import { appliance } from './appliance.svelte';

/** A sample comes each second; after this silence the connection is dead. */
const STALL_MS = 8_000;

class LiveState {
  connection = $state<StreamState>('connecting');
  /** Whether the stream broke and is not back yet. */
  broken = $state(false);
  latest = $state.raw<Sample | null>(null);
  history = $state.raw<Moment[]>([]);

  #stream: EventStream | null = null;

  siteSample(name: string): SiteSample | undefined {
    return this.latest?.sites.find((sample) => sample.site === name);
  }

  start(): void {
    this.stop();
    this.#stream = new EventStream({
      url: EVENTS_PATH,
      stallMs: STALL_MS,
      onState: (state) => this.#changed(state),
      handlers: {
        sample: (sample: Sample) => {
          this.latest = sample;
          this.history = appendSample(this.history, sample);
        },
        changed: () => void appliance.refresh(),
        // Some are missing: what they said is asked for, and the samples stay a gap.
        reset: () => void appliance.refresh(),
      },
    });
  }

  stop(): void {
    this.#stream?.close();
    this.#stream = null;
    this.broken = false;
    this.latest = null;
    this.history = [];
  }

  #changed(state: StreamState): void {
    this.connection = state;
    if (state === 'lost') {
      this.broken = true;
      this.latest = null;
      // Tells an ended session (401) from an appliance that is away.
      void appliance.refresh();
    }
    if (state === 'open') {
      this.broken = false;
      void appliance.refresh();
    }
  }
}

export const live = new LiveState();

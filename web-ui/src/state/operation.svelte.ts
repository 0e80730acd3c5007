/** A long operation on a site (restart, rollback): its steps as the appliance reports them, and how it ended. */

import { toRequestError } from '../api/error';
import type { DeployEvent } from '../api/types';

export interface Step {
  step: string;
  text: string;
}

export interface Failure {
  reason: string;
  detail: string;
  hint: string;
}

export class Operation {
  /** What is done, for people: `Restart of blog`. */
  readonly title: string;
  phase = $state<'running' | 'done' | 'failed'>('running');
  steps = $state<Step[]>([]);
  warnings = $state<string[]>([]);
  totalMs = $state(0);
  failure = $state.raw<Failure | null>(null);

  constructor(title: string) {
    this.title = title;
  }

  /** Follows the events to their end; never rejects. */
  async follow(events: AsyncIterable<DeployEvent>): Promise<void> {
    try {
      for await (const event of events) this.#take(event);
      if (this.phase === 'running') this.#fail('The connection ended before the operation did.', '', '');
    } catch (thrown) {
      const error = toRequestError(thrown);
      this.#fail(error.message, '', error.hint);
    }
  }

  #take(event: DeployEvent): void {
    switch (event.event) {
      case 'step':
        this.steps.push({ step: event.step, text: event.text });
        break;
      case 'warning':
        this.warnings.push(event.text);
        break;
      case 'done':
        this.totalMs = event.total_ms;
        this.phase = 'done';
        break;
      case 'failed':
        this.#fail(event.reason, event.detail, event.hint);
        break;
      case 'output':
        break;
    }
  }

  #fail(reason: string, detail: string, hint: string): void {
    this.failure = { reason, detail, hint };
    this.phase = 'failed';
  }
}

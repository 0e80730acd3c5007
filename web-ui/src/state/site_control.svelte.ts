/** What an operator does to one site: one thing at a time, with its progress or its failure. */

import { api } from '../api/client';
import { toRequestError, type RequestError } from '../api/error';
import type { DeployEvent, VariableChanges } from '../api/types';
import { appliance } from './appliance.svelte';
import { Operation } from './operation.svelte';

export class SiteControl {
  /** The restart, rollback or change of the configuration that runs or ran last, until it is dismissed. */
  operation = $state.raw<Operation | null>(null);
  /** Why the last stop or start failed. */
  error = $state.raw<RequestError | null>(null);
  busy = $state(false);

  #site: string;

  constructor(site: string) {
    this.#site = site;
  }

  restart(): Promise<void> {
    return this.#follow(`Restart of ${this.#site}`, api.restart(this.#site));
  }

  rollback(release: string): Promise<void> {
    return this.#follow(`Rollback to ${release}`, api.rollback(this.#site, release));
  }

  setMaintenance(on: boolean): Promise<boolean> {
    return this.#once(() => api.setMaintenance(this.#site, on));
  }

  changeVariables(changes: VariableChanges): Promise<boolean> {
    return this.#once(() => api.changeVariables(this.#site, changes));
  }

  /** Puts another configuration on line, which was made from that of `release`; tells whether it is. */
  async configure(release: string, text: string): Promise<boolean> {
    const events = api.applyConfiguration(this.#site, release, text);
    await this.#follow(`Configuration of ${this.#site}`, events);
    return this.operation?.phase === 'done';
  }

  remove(): Promise<boolean> {
    return this.#once(async () => {
      await api.remove(this.#site);
      // Its page has nothing to show any more, and no draft to ask about.
      await appliance.refresh();
      location.hash = '#/';
    });
  }

  stop(): Promise<boolean> {
    return this.#once(() => api.stop(this.#site));
  }

  start(): Promise<boolean> {
    return this.#once(() => api.start(this.#site));
  }

  dismiss(): void {
    this.operation = null;
  }

  async #follow(title: string, events: AsyncIterable<DeployEvent>): Promise<void> {
    const operation = new Operation(title);
    this.operation = operation;
    this.error = null;
    this.busy = true;
    await operation.follow(events);
    await appliance.refresh();
    this.busy = false;
  }

  /** Tells whether it was done. */
  async #once(act: () => Promise<void>): Promise<boolean> {
    this.operation = null;
    this.error = null;
    this.busy = true;
    try {
      await act();
    } catch (thrown) {
      this.error = toRequestError(thrown);
    }
    await appliance.refresh();
    this.busy = false;
    return this.error === null;
  }
}
